Feature: The balancer as receptionist

  Scenario: Source hashing: the same visitor meets the same web, and both webs have visitors
    Given the site topologies/ha.yaml is up
    When the client connects to the VIP once from each of 20 addresses, twice over
    Then both webs answered

  Scenario: Round robin: each web gets every second connection
    Given the site topologies/ha.yaml is up with "scheduler: rr" instead of "scheduler: sh"
    When the client makes 10 connections to the VIP
    Then both webs answered equally often

  Scenario Outline: A web that is <death> gets no new connections, and is taken back when it returns
    Given the site topologies/ha.yaml is up
    When web1 is <death>
    Then the balancer takes it out
    And all of 8 new connections to the VIP are answered by web2
    When it comes back
    Then the balancer takes it back
    And the lab is ready
    When the client connects to the VIP once from each of 20 addresses, twice over
    Then both webs answered

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |

  Scenario: A web that hangs is taken out, and back when it goes on
    Given the site topologies/ha.yaml is up
    When web1 hangs
    Then the balancer takes it out
    And all of 8 new connections to the VIP are answered by web2
    When web1 goes on
    Then the balancer takes it back

  Scenario: The holder's balancer is killed: connections pause and go on, and nobody is refused
    Given the site topologies/ha.yaml is up
    And client has an open connection to 203.0.113.10:80
    When the balancer of proxy1 is killed, a client that knocks at 203.0.113.10:80 all the time is never refused
    Then that connection is answered as before

  Scenario: Balanced by nftables: both webs answer, and one that dies gets no new connections
    Given the site topologies/vs-nat.yaml is up with the line "backend: nft" after "forward: nat"
    When the client downloads 1000 bytes over each of 20 connections
    Then both webs answered
    And proxy1 says that it balances by nftables with connection tracking
    When web1 is killed
    Then the balancer takes it out
    And all of 8 new connections to the VIP are answered by web2
    When it comes back
    Then the balancer takes it back
