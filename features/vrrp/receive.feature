Feature: What a VRRP router makes of what it hears

  A router that took the advert of a better one as that would fall silent: a packet every third interval is enough for that,
  and what more of them do to a router that drops them all is a question of its own. That the same advert without its fault does
  silence it shows each time that the fault was the reason.

  @V19
  Scenario: A TTL other than 255
    Given a router under test
    And it is active
    When adverts of priority 200 with TTL 254 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V20
  Scenario: A hop limit other than 255
    Given a router under test with IPv6
    And it is active
    When adverts of priority 200 with TTL 254 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V21
  Scenario: A version that nobody knows
    Given a router under test
    And it is active
    When adverts of priority 200 with version 4 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V21
  Scenario: The old version, of somebody who should speak the new one
    Given a router under test
    And it is active
    When adverts of priority 200 with version 2 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V22
  Scenario: A type that nobody knows
    Given a router under test
    And it is active
    When adverts of priority 200 with type 2 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V23
  Scenario: An address fewer than counted
    Given a router under test
    And it is active
    When adverts of priority 200 with an address missing arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V24
  Scenario: A wrong checksum
    Given a router under test
    And it is active
    When adverts of priority 200 with a wrong checksum arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V24
  Scenario: A wrong IPv6 checksum
    Given a router under test with IPv6
    And it is active
    When adverts of priority 200 with a wrong checksum arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V25
  Scenario: Another virtual router
    Given a router under test
    And it is active
    When adverts of priority 200 with VRID 52 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V26
  Scenario: No address at all
    Given a router under test
    And it is active
    When adverts of priority 200 with no address arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V27
  Scenario: The interval 0
    Given a router under test
    And it is active
    When adverts of priority 200 with interval 0 s arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V28
  Scenario: An IPv6 list that does not begin with the link-local address
    Given a router under test with IPv6
    And it is active
    When adverts of priority 200 with the link-local address last arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V13
  Scenario: Reserved bits that are set change nothing
    Given a router under test
    And it is active
    When adverts of priority 200 with reserved bits set keep arriving
    Then it falls silent

  @V29 @needs-owner
  Scenario: Another owner with a greater address is heard
    Given a router under test with priority 255
    And it is active
    When adverts of priority 255 keep arriving
    Then it falls silent

  @V30
  Scenario: Another interval is no reason to drop an advert
    Given a router under test
    And it is active
    When adverts of priority 200 with interval 1 s keep arriving
    Then it falls silent

  @V30
  Scenario: Another interval is a reason in VRRPv2
    Given a router under test with VRRPv2
    And it is active
    When adverts of priority 200 with interval 2 s arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V31
  Scenario: Other addresses are no reason to drop an advert
    Given a router under test
    And it is active
    When adverts of priority 200 with other addresses keep arriving
    Then it falls silent

  @V31
  Scenario: Other addresses are a reason in VRRPv2
    Given a router under test with VRRPv2
    And it is active
    When adverts of priority 200 with other addresses arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V31
  Scenario: Other addresses of the owner are none in VRRPv2
    Given a router under test with VRRPv2
    And it is active
    When adverts of priority 255 with other addresses keep arriving
    Then it falls silent

  @V32
  Scenario: Authentication that was never agreed
    Given a router under test with VRRPv2
    And it is active
    When adverts of priority 200 with authentication 1 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V33
  Scenario: Its own advert, come back
    Given a router under test
    And it is active
    When adverts of priority 200 with source 10.10.1.11 arrive every third interval
    Then it still says that it is active
    When adverts of priority 200 keep arriving
    Then it falls silent

  @V34
  Scenario: An IPv6 advert of the same VRID is for another router
    Given a router under test with both families
    And it is active
    When adverts of priority 200 with source fe80::1 keep arriving
    Then it still says that it is active
    And its IPv6 router falls silent

  @V34
  Scenario: An IPv4 advert of the same VRID is for another router than that of IPv6
    Given a router under test with both families
    And it is active
    When adverts of priority 200 keep arriving
    Then its IPv6 router still says that it is active
    And it falls silent

  @L14
  Scenario Outline: As many packets as it sends, every one to be dropped, keep it from nothing: <flaw>
    Given a router under test
    And it is active
    When adverts of priority 200 with <flaw> keep arriving
    Then it still says that it is active

    Examples:
      | flaw             |
      | TTL 254          |
      | a wrong checksum |
      | VRID 52          |
