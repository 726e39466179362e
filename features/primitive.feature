Feature: What failover the primitive way costs, beside an election

  Two proxies with a public address each, of which one pings the other and takes a third address when it hears nothing,
  against two that elect a holder on the network behind and have the one public address or none.

  Scenario Outline: <file> uses <count> public addresses
    Given the site topologies/<file> is up
    Then the proxies have <count> public addresses between them

    Examples:
      | file               | count |
      | two-addresses.yaml | 3     |
      | ha.yaml            | 1     |

  Scenario: A monitor that hears nothing takes the address, whoever else has it
    Given the site topologies/two-addresses.yaml is up
    And somebody on router asks all the time who on front has 203.0.113.10
    Then one node comes to answer
    When I run on proxy1: echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all
    Then two nodes come to answer

  Scenario: An election that hears nothing asks on the public network first
    Given the site topologies/ha.yaml is up
    And somebody on router asks all the time who on front has 203.0.113.10
    Then one node comes to answer
    When proxy1 is cut off from back with its link up
    Then for seconds never more than one node answers
    And proxy1 still holds the VIP
