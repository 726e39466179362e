Feature: What the site needs beyond the RFC

  @L01 @needs-site
  Scenario: The public address floats on a network without another address, while the election is elsewhere
    Given the site with the engine under test
    And the public address is watched
    When 1 s passes
    Then the holder has no address on front but the public one, and the other proxy none
    And no advert was seen on front

  @L02 @needs-site
  Scenario: The holder leaves by the front, the other proxy by the holder, and both reach the Internet
    Given the site with the engine under test
    And the public address is watched
    Then the holder leaves by front and the other proxy by back
    And both proxies reach the Internet

  @L03 @needs-site @timing
  Scenario Outline: Never two machines answer for the public address: the daemon of the holder <fate>
    Given the site with the engine under test
    And the public address is watched
    When the daemon of the holder <fate>
    And the other proxy comes to hold the public address
    And 2 s pass
    Then at no moment did two machines answer for it, and both did

    Examples:
      | fate       |
      | is stopped |
      | hangs      |

  @L03 @needs-site @timing
  Scenario: Never two machines answer for the public address: the daemon of the holder is killed and comes back
    Given the site with the engine under test
    And the public address is watched
    When the daemon of the holder is killed
    And 3 s pass
    And the holder comes to hold the public address
    Then at no moment did two machines answer for it, and both did

  @L03 @needs-site @timing
  Scenario: Never two machines answer for the public address: a daemon that hung goes on
    Given the site with the engine under test
    And the public address is watched
    When the daemon of the holder hangs
    And the other proxy comes to hold the public address
    And the daemon of the holder goes on
    And 2 s pass
    Then at no moment did two machines answer for it, and both did

  @L03 @L04 @needs-site @timing
  Scenario: The election is cut in two, and never two machines answer
    Given the site with the engine under test
    And the public address is watched
    When back lets nothing through to the holder
    And 2 s pass
    And back is whole again
    And 2 s pass
    Then at no moment did two machines answer for it, and the holder did

  @L04 @needs-site @timing
  Scenario: After the election was cut in two, the last word is with who holds the address
    Given the site with the engine under test
    And the public address is watched
    When back lets nothing through to the holder
    And 2 s pass
    And back is whole again
    And 2 s pass
    Then the last to announce or answer is who holds it

  @L04 @needs-site @timing
  Scenario: After the election was cut in two, the neighbours send to who holds the address
    Given the site with the engine under test
    And the public address is pinged
    When back lets nothing through to the holder
    And 2 s pass
    And back is whole again
    Then an interval later the router of the street knows where the public address is

  @L05 @needs-site @timing
  Scenario: A graceful stop costs no ping, and neither does the way back
    Given the site with the engine under test and an interval of 1 s
    And the public address is watched
    When the daemon of the holder is stopped
    And the other proxy comes to hold the public address
    And the daemon of the holder starts again
    And the holder comes to hold the public address
    And 1 s passes
    Then no ping was lost

  @L06 @needs-site @timing
  Scenario: A machine that dies costs no more than the time-outs
    Given the site with the engine under test and an interval of 1 s
    And the public address is watched
    When the holder is powered off
    And the other proxy comes to hold the public address
    Then the outage was no longer than the time-outs of the election

  @L07 @needs-site @timing
  Scenario: The front link of the holder fails, and nobody waits for a time-out
    Given the site with the engine under test and an interval of 1 s
    And the public address is watched
    When the link front of the holder fails
    And the other proxy comes to hold the public address
    Then the outage was no longer than a busy machine may be late

  @L08 @needs-site
  Scenario Outline: The back link of the <whose> fails while the front is alive, and nobody takes over
    Given the site with the engine under test
    And the public address is watched
    When the link back of the <whose> fails
    And 2 s pass
    Then the roles did not change

    Examples:
      | whose       |
      | holder      |
      | other proxy |

  @L08 @needs-site @needs-account
  Scenario: A holder without its back link says what is wrong
    Given the site with the engine under test
    And the public address is watched
    When the link back of the holder fails
    Then labctl explain of it comes to say It is degraded

  @L09 @needs-site @timing
  Scenario: Busy processors change no role
    Given the site with the engine under test
    And the public address is watched
    When two programs keep the processors busy for 60 s
    Then the roles did not change

  @L10 @needs-site @timing
  Scenario: A takeover is announced, but not too often
    Given the site with the engine under test
    And the public address is watched
    When the holder is powered off
    And the other proxy comes to hold the public address
    And 3 s pass
    Then it was announced, but not too often

  @L11 @needs-site
  Scenario: Without its front link the holder gives way
    Given the site with the engine under test
    And the public address is watched
    When the link front of the holder fails
    And the other proxy comes to hold the public address
    And 1 s passes
    Then at no moment did two machines answer for it, and both did

  @L11 @needs-site
  Scenario: Without any link the holder is followed by the other proxy
    Given the site with the engine under test
    And the public address is watched
    When the link front of the holder fails
    And the link back of the holder fails
    And the other proxy comes to hold the public address
    And 1 s passes
    Then at no moment did two machines answer for it, and both did

  @L11 @needs-site
  Scenario: Without any link the other proxy never takes the address
    Given the site with the engine under test
    And the public address is watched
    When the link front of the other proxy fails
    And the link back of the other proxy fails
    Then for 2 s the other proxy never has the public address

  @L12 @needs-site @timing
  Scenario: An address that somebody deletes on the holder is soon served again
    Given the site with the engine under test and an interval of 1 s
    And the public address is watched
    When somebody deletes the public address on the holder
    And 3 s pass
    Then the outage was no longer than a busy machine may be late

  @L13 @needs-site @needs-account
  Scenario Outline: A peer that is configured differently is named: <what>
    Given the site with the engine under test
    And the public address is watched
    When a stranger advertises <what> on back
    Then labctl doctor comes to say <words>

    Examples:
      | what            | words                            |
      | VRID 52         | use different VRIDs              |
      | interval 200 ms | advertise at different intervals |
      | version 2       | speak different versions of VRRP |
      | other addresses | advertise different addresses    |
