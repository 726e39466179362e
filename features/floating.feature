Feature: Two proxies, one address

  Background:
    Given the site topologies/ha.yaml is up

  Scenario: Exactly one proxy holds the public address and the inner gateway address
    Then proxy1 holds the VIP
    And exactly one node has the address 203.0.113.10
    And exactly one node has the address 10.10.1.1
    And proxy2 has no address of its own on front

  Scenario Outline: The holder is <death>, the other takes the address, and it is never on two
    Given somebody watches who holds the VIP
    When proxy1 is <death>
    Then proxy2 holds the VIP
    And exactly one node has the address 10.10.1.1
    And client gets an answer from http://203.0.113.10/healthz
    When it comes back
    Then proxy1 holds the VIP
    And the lab is ready
    And client gets an answer from http://203.0.113.10/healthz
    And at no moment did two nodes hold it, and proxy1 and proxy2 did

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |

  Scenario Outline: The other proxy is <death>, and the holder stays
    Given somebody watches who holds the VIP
    When proxy2 is <death>
    Then client gets an answer from http://203.0.113.10/healthz
    And proxy1 still holds the VIP
    When it comes back
    Then the lab is ready
    And proxy1 still holds the VIP
    And at no moment did two nodes hold it, and proxy1 did

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |

  Scenario: The one without the public address reaches the street by the network behind
    Then the default route of proxy1 goes by 203.0.113.1
    And the default route of proxy2 goes by 10.10.1.1
    And the street sees proxy2 as 203.0.113.10
    And the street sees proxy1 as 203.0.113.10
    And the street sees web1 as 203.0.113.10

  Scenario: Roles and routes swap on takeover
    When proxy1 is stopped
    Then proxy2 holds the VIP
    And the default route of proxy2 goes by 203.0.113.1
    And the default route of proxy1 goes by 10.10.1.1
    And the street sees proxy1 as 203.0.113.10
    And the street sees proxy2 as 203.0.113.10

  Scenario: The front link of the holder goes down and up again, and the site answers again
    When the link front of proxy1 goes down
    And the link front of proxy1 goes up
    Then client gets an answer from http://203.0.113.10/healthz
    And the default route of proxy1 goes by 203.0.113.1
    And proxy1 holds the VIP

  Scenario Outline: Somebody deletes <address> on the holder, and it is put back
    When somebody deletes <address>/24 from <network> of proxy1
    Then exactly one node comes to have the address <address>
    And proxy1 still holds the VIP
    And client gets an answer from http://203.0.113.10/healthz

    Examples:
      | address      | network |
      | 203.0.113.10 | front   |
      | 10.10.1.1    | back    |
