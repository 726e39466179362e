Feature: The states of a VRRP router

  @V35 @needs-owner @timing
  Scenario: The owner of the addresses is active as it starts
    Given a router under test with priority 255 and interval 5 s
    And it is stopped
    When it starts
    Then it becomes active before an interval has passed
    And it announces every virtual address with its announced MAC

  @V36 @timing
  Scenario: Anybody else watches first
    Given a router under test with interval 1 s
    And it is stopped
    When it starts
    Then it becomes active, but not before 3 intervals and its skew

  @V37 @timing
  Scenario Outline: A router of priority <priority> takes over in its time
    Given a router under test with priority <priority> and interval 1 s
    And it is in backup behind a router of priority 255
    When the other router falls silent
    Then it takes over after 3 intervals of the other router and its skew

    Examples:
      | priority |
      | 1        |
      | 254      |

  @V37 @V18 @timing
  Scenario: A router of VRRPv2 takes over in its time
    Given a router under test with VRRPv2
    And it is in backup behind a router of priority 200
    When the other router falls silent
    Then it takes over after 3 intervals of the other router and its skew

  @V38
  Scenario: A backup does not answer for the virtual address
    Given a router under test
    And it is in backup behind a router of priority 200
    When somebody asks who has its virtual address
    Then nobody answers

  @V38
  Scenario: A backup does not answer for the IPv6 virtual address
    Given a router under test with IPv6
    And it is in backup behind a router of priority 200
    When somebody asks who has its virtual address
    Then nobody answers

  @V39
  Scenario: A backup takes nothing for the virtual MAC
    Given a router under test with a virtual MAC
    And it is in backup behind a router of priority 200
    When a packet for the other side comes to its virtual MAC
    Then it does not forward the packet

  @V40
  Scenario: A backup does not accept packets for the virtual address
    Given a router under test
    And it is in backup behind a router of priority 200
    When somebody pings its virtual address
    Then it does not answer the ping

  @V41
  Scenario: A backup stops without a word
    Given a router under test
    And it is in backup behind a router of priority 200
    When it is stopped
    Then it sends no advert

  @V42
  Scenario: A backup that becomes active says so to routers and neighbours
    Given a router under test with a virtual MAC
    And it is in backup behind a router of priority 200
    When the other router falls silent
    Then it becomes active
    And it announces every virtual address with its virtual MAC

  @V42
  Scenario: The same for IPv6
    Given a router under test with IPv6 and a virtual MAC
    And it is in backup behind a router of priority 200
    When the other router falls silent
    Then it becomes active
    And it announces every virtual address with its virtual MAC

  @V43 @timing
  Scenario: A farewell leaves the skew only
    Given a router under test with interval 1 s
    And it is in backup behind a router of priority 200
    When the other router gives up
    Then it takes over after its skew alone

  @V44 @timing
  Scenario: A backup waits by the interval of the active router
    Given a router under test
    And it is in backup behind a router of priority 200 that advertises every 500 ms
    Then it says nothing for 20 intervals
    When the other router falls silent
    Then it takes over after 3 intervals of the other router and its skew

  @V45
  Scenario: A lower priority does not hold a backup off
    Given a router under test
    And it is in backup behind a router of priority 200
    When the priority of the other router becomes 50
    Then it becomes active

  @V46 @timing
  Scenario: A lower priority holds a backup off that does not preempt
    Given a router under test with no preemption
    And it is in backup behind a router of priority 200
    When the priority of the other router becomes 50
    Then it says nothing for 10 intervals
    When the other router falls silent
    Then it becomes active

  @V47 @needs-owner
  Scenario: The owner preempts whatever it was told
    Given a router under test with priority 255 and no preemption
    And it is stopped
    When adverts of priority 200 keep arriving
    And it starts
    Then it becomes active

  @V48
  Scenario: An active router answers ARP with the virtual MAC
    Given a router under test with a virtual MAC
    And it is active
    When somebody asks who has its virtual address
    Then the answer names its virtual MAC

  @V49
  Scenario: An active router answers neighbour solicitations as a router
    Given a router under test with IPv6 and a virtual MAC
    And it is active
    When somebody asks who has its virtual address
    Then the answer names its virtual MAC

  @V50
  Scenario: An active router forwards what comes to the virtual MAC
    Given a router under test with a virtual MAC
    And it is active
    When a packet for the other side comes to its virtual MAC
    Then it forwards the packet

  @V51
  Scenario: With Accept_Mode an active router answers a ping of the virtual address
    Given a router under test
    And it is active
    When somebody pings its virtual address
    Then it answers the ping

  @V51 @needs-accept-choice
  Scenario: Without Accept_Mode it does not
    Given a router under test with no accept mode
    And it is active
    When somebody pings its virtual address
    Then it does not answer the ping

  @V51 @needs-accept-choice @needs-owner
  Scenario: An owner accepts in any case
    Given a router under test with priority 255 and no accept mode
    And it is active
    When somebody pings its virtual address
    Then it answers the ping

  @V10 @V52
  Scenario: An active router stops with a farewell
    Given a router under test
    And it is active
    When it is stopped
    Then its last advert has priority 0

  @V53 @timing
  Scenario: An advert every interval
    Given a router under test
    And it is active
    Then it sends 20 adverts in as many intervals, give or take one

  @V54 @timing
  Scenario: An active router answers a farewell, and counts from there
    Given a router under test with interval 2 s
    And it is active
    When one advert of priority 0 arrives half an interval after its own
    Then it answers with an advert at once
    And the next one comes an interval after that

  @V55 @timing
  Scenario: An active router gives way to a higher priority, and waits by its interval
    Given a router under test
    And it is active
    When adverts of priority 200 with interval 1 s keep arriving
    Then it falls silent
    When the other router falls silent
    Then it says nothing for 25 intervals

  @V56
  Scenario: Of equal priorities the greater address wins
    Given a router under test
    And it is active
    When adverts of priority 100 with source 10.10.1.9 keep arriving
    Then it still says that it is active
    When adverts of priority 100 with source 10.10.1.200 keep arriving
    Then it falls silent

  @V57 @timing
  Scenario: An active router answers a losing advert
    Given a router under test with interval 2 s
    And it is active
    When one advert of priority 50 arrives right after its own
    Then it answers with an advert at once

  @V59 @needs-owner
  Scenario: What is announced at boot is true
    Given a router under test with priority 255
    And it is stopped
    When it starts
    Then it announces every virtual address with its announced MAC
    When somebody asks who has its virtual address
    Then the answer names its announced MAC

  @V60
  Scenario: A new active router announces its addresses
    Given a router under test
    And it is in backup behind a router of priority 200
    When the other router falls silent
    Then it becomes active
    And it announces every virtual address with its announced MAC

  @V60
  Scenario: A backup announces nothing, and its own address works
    Given a router under test
    And it is in backup behind a router of priority 200
    When some time passes
    And somebody pings its own address
    Then it answers the ping
    And it announces nothing

  @V61
  Scenario: A backup forwards nothing for the virtual address
    Given a router under test
    And it is in backup behind a router of priority 200
    When a packet for its virtual address comes to its own MAC
    Then it does not forward the packet to whoever says to have the address

  @V61 @needs-accept-choice
  Scenario: An active router that does not accept packets for the virtual address does not forward them either
    Given a router under test with no accept mode
    And it is active
    When a packet for its virtual address comes to its announced MAC
    Then it does not forward the packet to whoever says to have the address

  @V29 @V62 @needs-log @needs-owner
  Scenario: Two owners are named in the log
    Given a router under test with priority 255
    And it is active
    When adverts of priority 255 with source 10.10.1.9 keep arriving
    Then it still says that it is active
    And its log names the other owner

  @V64 @needs-both-versions
  Scenario: Both versions are sent where they are asked for
    Given a router under test with both versions
    And it is active
    Then it says so in both versions

  @V64 @needs-both-versions
  Scenario: A backup of both versions hears the old one
    Given a router under test with both versions
    And it is active
    When adverts of priority 200 with version 2 keep arriving
    Then it falls silent
