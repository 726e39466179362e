Feature: A drill breaks the site and reports what survived

  @timing
  Scenario: The active proxy crashes and comes back
    When I run the drill topologies/drills/proxy-crash.yaml
    Then it ends with 0
    And the report says pass
    And the report has an outage and no lost turn
    And the VIP moved to the other proxy and back
    When I render the report again
    Then it is the same, byte for byte

  @timing
  Scenario: The same crash fails a drill that allows no outage
    When I run the drill topologies/drills/proxy-crash.yaml with "outage_max: 1ms" instead of "outage_max: 1s"
    Then it ends with 1
    And the report says fail

  @timing
  Scenario: The public link of the holder goes down, and the other takes over at once
    When I run the drill topologies/drills/front-cut.yaml
    Then it ends with 0
    And the report says pass

  @timing
  Scenario: The proxies do not hear each other, and there are never two holders
    When I run the drill topologies/drills/split-brain.yaml
    Then it ends with 0
    And the report says pass

  Scenario: A faulty drill file
    When I run the drill topologies/drills/proxy-crash.yaml with "target: holdr" instead of "target: holder"
    Then it ends with 2
    And it says "holdr"

  Scenario: A database comes back with an empty disk, and the history of all conversations is consistent
    When I run the drill topologies/drills/disk-wiped.yaml
    Then it ends with 0
    And the report says pass
    And the checker finds its history consistent, with reads and acknowledgements of "db-quorum"

  Scenario: The leader and the web that serves are cut off together, and nothing that they acknowledged is lost
    When I run the drill topologies/drills/leader-and-web-cut.yaml
    Then it ends with 0
    And the report says pass
    And the checker finds its history consistent, with reads and acknowledgements of "db-quorum"

  Scenario: A site that keeps conversations in its webs loses them, and the checker says which
    When I run the drill topologies/drills/control-none.yaml
    Then it ends with 0
    And the report says pass
    And the checker finds a contradiction in its history
