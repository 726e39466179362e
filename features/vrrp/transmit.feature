Feature: What a VRRP router sends

  @V01
  Scenario: Adverts go to the VRRP group
    Given a router under test
    Then its adverts have the VRRP group as destination

  @V02
  Scenario: IPv6 adverts go to the VRRP group
    Given a router under test with IPv6
    Then its adverts have the VRRP group as destination

  @V03
  Scenario: Adverts cannot have passed a router
    Given a router under test
    Then its adverts have TTL 255

  @V04
  Scenario: IPv6 adverts cannot have passed a router
    Given a router under test with IPv6
    Then its adverts have TTL 255

  @V05
  Scenario: Adverts come from the router's own address
    Given a router under test
    Then its adverts have its own address as source

  @V06
  Scenario: IPv6 adverts come from a link-local address
    Given a router under test with IPv6
    Then its adverts have a link-local source

  @V07
  Scenario: Adverts come from the virtual MAC where it is asked for
    Given a router under test with a virtual MAC
    Then its adverts have the virtual MAC as source

  @V07
  Scenario: IPv6 adverts come from the virtual MAC of IPv6
    Given a router under test with IPv6 and a virtual MAC
    Then its adverts have the virtual MAC as source

  @V08
  Scenario: Adverts are of version 3 and type 1
    Given a router under test
    Then its adverts have version 3
    And its adverts have type 1

  @V09
  Scenario: Adverts name the virtual router
    Given a router under test
    Then its adverts have the configured VRID

  @V10
  Scenario Outline: Adverts say priority <priority>
    Given a router under test with priority <priority>
    Then its adverts have priority <priority>

    Examples:
      | priority |
      | 1        |
      | 100      |
      | 254      |

  @V10 @needs-owner
  Scenario: The owner's adverts say priority 255
    Given a router under test with priority 255
    Then its adverts have priority 255

  @V11
  Scenario: Adverts list every address
    Given a router under test
    Then its adverts have every address in order

  @V11 @V12
  Scenario: IPv6 adverts list every address, the link-local one first
    Given a router under test with IPv6
    Then its adverts have every address in order

  @V13
  Scenario: Reserved bits are clear
    Given a router under test
    Then its adverts have the reserved bits clear

  @V14
  Scenario Outline: Adverts say the interval <interval>
    Given a router under test with interval <interval>
    Then its adverts have interval <interval>

    Examples:
      | interval |
      | 10 ms    |
      | 100 ms   |
      | 1 s      |

  @V14 @needs-owner
  Scenario: Adverts say the longest interval that there is
    Given a router under test with priority 255 and interval 40950 ms
    And it is stopped
    When it starts
    Then its adverts have interval 40950 ms

  @V15
  Scenario: The checksum covers the message alone
    Given a router under test with checksums of the message alone
    Then its adverts have a checksum of the message alone

  @V15
  Scenario: The checksum covers a pseudo-header where it is asked for
    Given a router under test with checksums with a pseudo-header
    Then its adverts have a checksum with a pseudo-header

  @V16
  Scenario: The IPv6 checksum covers a pseudo-header
    Given a router under test with IPv6
    Then its adverts have a checksum with a pseudo-header

  @V17
  Scenario: An advert that may pass routers passes none
    Given a router under test
    And it is active
    When one advert of priority 50 with TTL 64 arrives
    Then nothing of it reaches the other side

  @V17
  Scenario: An IPv6 advert that may pass routers passes none
    Given a router under test with IPv6
    And it is active
    When one advert of priority 50 with TTL 64 arrives
    Then nothing of it reaches the other side

  @V18
  Scenario: VRRPv2 adverts are as RFC 3768 has them
    Given a router under test with VRRPv2
    Then its adverts have version 2
    And its adverts have type 1
    And its adverts have TTL 255
    And its adverts have every address in order
    And its adverts have interval 1 s
    And its adverts have no authentication
    And its adverts have a checksum of the message alone
