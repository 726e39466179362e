Feature: What visitors may expect of a balancer

  The client of the site asks from twenty addresses, each a visitor of its own, and knows the public address only. The
  scheduler is sh, the only one that every engine has.

  @B01
  Scenario: The client hears one address only
    Given the site with the balancer under test
    And the client listens
    When every visitor asks
    Then nobody but the public address was heard

  @B02
  Scenario: Both webs get connections
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered

  @B03 @B04
  Scenario: A web that dies is taken out, and taken back when it returns
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered
    When web1 is powered off
    Then soon every visitor is answered by web2
    When web1 is powered on
    Then soon both webs answer

  @B05
  Scenario: A visitor meets the same web every time
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered
    And 4 times more every visitor meets the same web

  @B06
  Scenario: A web of weight 0 gets nothing
    Given the site with the balancer under test, in which web1 has weight 0
    When every visitor asks
    Then all were answered by web2

  @B07
  Scenario: The holder dies, and new connections are soon answered
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered
    When the holder is powered off
    Then soon both webs answer

  @B08
  Scenario: The holder dies, and open connections live on
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered
    When the holder is powered off
    Then every visitor is answered as before over the connection that is open

  @B09
  Scenario: Answers do not pass the directors
    Given the site with the balancer under test
    When every visitor downloads 1048576 bytes
    Then the directors sent less than 5 % of that

  @B10
  Scenario: A cookie brings a visitor back
    Given the site with the balancer under test
    When every visitor asks
    Then both webs answered
    And with the cookie of any visitor all others meet the same web
