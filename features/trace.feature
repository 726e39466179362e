Feature: The walk of one request, captured on every interface of every node

  Scenario Outline: In <method>, the director does to a packet what the method says, and answers go the way it says
    Given the site topologies/vs-<method>.yaml is up
    When I trace client to vip:80
    Then it ends with 0
    And the SYN goes from client by router and proxy1 to a web
    And proxy1 changes <changes> in it
    And answers <pass> proxy1
    And all that client sees is between it and 203.0.113.10
    And no packet was lost

    Examples:
      | method | changes                                                                               | pass     |
      | nat    | source_mac, destination_mac, destination, destination_port, ttl, ip_checksum, tcp_checksum | pass     |
      | tun    | source_mac, destination_mac, encapsulation, ttl, ip_checksum                            | pass by  |
      | dr     | source_mac, destination_mac, ttl, ip_checksum                                           | pass by  |

  Scenario: In tun, the client's packet travels as it is in one from the director to the web
    Given the site topologies/vs-tun.yaml is up
    When I trace client to vip:80
    Then proxy1 puts the SYN into a packet from 203.0.113.11 to the address of a web

  Scenario: A proxy has two connections, and says so
    Given the site topologies/vs-proxy.yaml is up
    When I trace client to vip:80
    Then it ends with 0
    And there are 2 connections, the second of proxy1
    And all that client sees is between it and 203.0.113.10

  Scenario: A request that is refused: the walk shows by whom, and the program ends with 1
    Given the site topologies/ha.yaml is up
    When I run in the lab trace client vip:81
    Then it ends with 1
    And it prints "no answer: Connection refused"
    And it prints "RST, proxy1 to client"

  Scenario: A director without anybody to hand a packet to: the walk shows how far it came
    Given the site topologies/minimal.yaml is up
    When web1 is powered off
    And I run in the lab trace client vip:80 --timeout 300ms
    Then it ends with 1
    And it prints "SYN"

  Scenario Outline: Names that are none are refused with the one that was meant
    Given the site topologies/minimal.yaml is up
    When I run in the lab trace <words>
    Then it ends with 2
    And it says "<hint>"
    And it prints nothing

    Examples:
      | words                        | hint                      |
      | cleint vip:80                | did you mean `client`?    |
      | client wbe1:80               | did you mean `web1`?      |
      | client vip:http              | is not HOST:PORT          |
      | client -                     | the shell took the `>`    |
      | client vip:80 --method dr    | and not by dr             |

  Scenario: The same walk in every form, and from its file again
    Given the site topologies/minimal.yaml is up
    When I run in the lab trace client -> vip:80 --format json
    Then it ends with 0
    And its replay begins with what it was about
    When I run in the lab trace client vip:80 --format mermaid
    Then it prints "sequenceDiagram"
    When I run in the lab trace client vip:80 --arp --all
    Then it prints "who has which hardware address"
    And it prints "FIN, "

  @timing
  Scenario: Without a lab of that method, one is built for the walk, and nothing is left of it
    When I run labctl trace client vip:80 --method tun
    Then it ends with 0
    And it says "building topologies/vs-tun.yaml for this walk"
    And it prints "IPv4 in IPv4"
    And no lab whose name begins with trace- is up
