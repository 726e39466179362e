Feature: Ours and keepalived in one election

  In these sites proxy1 runs our daemon and proxy2 keepalived; who is preferred is changed from one to the other.

  Scenario Outline: Over <version>, <first> is preferred and is <death>: <second> takes over, and gives back
    Given the site <file> is up with "priority: <priority>, on" instead of "priority: 150, on"
    Then <first> holds the VIP
    When <first> is <death>
    Then <second> holds the VIP
    And client gets an answer from http://203.0.113.10/healthz
    When it comes back
    Then <first> holds the VIP
    And the lab is ready
    And client gets an answer from http://203.0.113.10/healthz

    Examples:
      | version | file                         | priority | first  | second | death       |
      | VRRPv3  | topologies/mixed.yaml        | 150      | proxy1 | proxy2 | stopped     |
      | VRRPv3  | topologies/mixed.yaml        | 150      | proxy1 | proxy2 | powered off |
      | VRRPv3  | topologies/mixed.yaml        | 50       | proxy2 | proxy1 | stopped     |
      | VRRPv3  | topologies/mixed.yaml        | 50       | proxy2 | proxy1 | powered off |
      | VRRPv2  | fixtures/labs/mixed-v2.yaml  | 150      | proxy1 | proxy2 | stopped     |
      | VRRPv2  | fixtures/labs/mixed-v2.yaml  | 150      | proxy1 | proxy2 | powered off |
      | VRRPv2  | fixtures/labs/mixed-v2.yaml  | 50       | proxy2 | proxy1 | stopped     |
      | VRRPv2  | fixtures/labs/mixed-v2.yaml  | 50       | proxy2 | proxy1 | powered off |

  Scenario: keepalived on both proxies: the site is the same
    Given the site topologies/keepalived.yaml is up
    Then proxy1 holds the VIP
    And the default route of proxy2 goes by 10.10.1.1
    And the street sees proxy2 as 203.0.113.10
    When proxy1 is powered off
    Then proxy2 holds the VIP
    And client gets an answer from http://203.0.113.10/healthz
    When it comes back
    Then proxy1 holds the VIP
    And the lab is ready
