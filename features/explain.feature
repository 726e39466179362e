Feature: Why it is as it is, and what is wrong

  Background:
    Given the site fixtures/labs/stranger.yaml is up

  Scenario: The holder and its backup say why they are what they are
    When I ask why proxy1 is as it is
    Then it prints "proxy1 has been active for"
    And it prints "because"
    And it prints "for 203.0.113.10, 10.10.1.1"
    When I ask why proxy2 is as it is
    Then it prints "proxy2 has been a backup for"
    And it prints "It heard proxy1 (10.10.1.11)"

  Scenario: The heir says why it became active
    When proxy1 is stopped
    Then proxy2 holds the VIP
    When I ask why proxy2 is as it is
    Then it prints "proxy2 has been active for"
    And it prints "because proxy1 (10.10.1.11) gave up"

  Scenario: A machine without a part in the election is told of by its services, and one that is off by its end
    When I ask why stranger is as it is
    Then it prints "the node started"
    When proxy2 is powered off
    And I ask why proxy2 is as it is
    Then it prints "proxy2 is down: powered off"
    When I have the lab examined
    Then it ends with 1
    And it prints "off: proxy2 takes no part in the election: it is down"

  Scenario: A lab in good health gives no reason to complain
    Then the doctor comes to find nothing wrong with the lab

  Scenario: An examination needs no lab, but none that is not there
    When I run labctl doctor no-such-lab
    Then it ends with 2
    When I run labctl explain --lab no-such-lab proxy1
    Then it ends with 2
    When I ask why nobody is as it is
    Then it ends with 2
    And it says "has no node nobody"

  Scenario Outline: A proxy that is configured differently is named: <setting>
    When proxy2 runs with <setting>
    Then the doctor comes to name "<finding>"
    And it ends with 1
    And it prints "next:  make them agree"

    Examples:
      | setting         | finding                                               |
      | VRID 52         | vrid: proxy1 and proxy2 use different VRIDs           |
      | interval 200 ms | interval: proxy1 and proxy2 advertise at different    |
      | version 2       | version: proxy1 and proxy2 speak different versions   |
      | one address     | addresses: proxy1 and proxy2 advertise different      |
      | other checksum  | checksum-rule: proxy1 and proxy2 disagree on what the |

  Scenario: Two proxies of one priority are named
    When proxy2 runs with priority 150
    Then the doctor comes to name "same-priority: proxy1 and proxy2 have the same priority"

  Scenario Outline: A forged packet changes nothing, is counted and named: <flaw>
    Given somebody watches who holds the VIP
    When stranger sends adverts with <flaw>
    Then proxy1 comes to say why with "<kind>, 5 times"
    And proxy1 comes to say why with "<words>"
    And proxy1 has not changed its role since
    And at no moment did two nodes hold it, and proxy1 did

    Examples:
      | flaw              | kind          | words                                           |
      | TTL 254           | ttl           | TTL 254 instead of 255                          |
      | version 2         | version       | version 2 instead of 3                          |
      | type 2            | type          | type 2 instead of 1                             |
      | no address        | no-addresses  | no address in it                                |
      | an address less   | truncated     | truncated: 12 bytes of 16                       |
      | a wrong checksum  | checksum      | instead of                                      |
      | a pseudo-header   | checksum-rule | checksum over message and pseudo-header instead |
      | VRID 0            | vrid          | VRID 0 is not configured here                   |
      | VRID 52           | vrid          | VRID 52 is not configured here                  |
      | interval 0        | interval-zero | advertisement interval 0                        |
      | priority 255      | stranger      | 10.10.1.66 is not a peer                        |

  Scenario: Adverts in the holder's own name change nothing
    Given somebody watches who holds the VIP
    When stranger sends adverts with proxy1's address
    Then proxy2 comes to say why with "It heard proxy1 (10.10.1.11)"
    And proxy1 has not changed its role since
    And at no moment did two nodes hold it, and proxy1 did

  Scenario: Who forges adverts is named
    When stranger sends adverts with a pseudo-header
    Then the doctor comes to name "checksum-rule: proxy1 and stranger (10.10.1.66) disagree on what the checksum covers"
    When stranger sends adverts with a wrong checksum
    Then the doctor comes to name "checksum: stranger (10.10.1.66) sends proxy1 what is no valid advert"
