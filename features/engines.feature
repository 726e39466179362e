Feature: Databases that others wrote take the place of ours

  @needs-etcd
  Scenario: etcd: its leader is killed, another leads, nothing is lost, and it comes back
    Given the site topologies/ha-etcd.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader is killed
    And the client says 3 more things
    Then the databases follow another leader
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

  @needs-etcd
  Scenario: etcd: a leader that is cut off together with a web takes nothing that it could not keep
    Given the site topologies/ha-etcd.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader and the web that answered are cut off together
    Then the databases follow another leader
    And the site takes nothing more from the client
    When both are joined to the others again
    And the client says 2 more things
    Then the site remembers all of it, in order

  @needs-redis
  Scenario: Redis: its primary is killed, and it looks as if nothing could be lost
    Given the site topologies/ha-redis.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader is killed
    And the client says 3 more things
    Then the databases follow another leader
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

  @needs-redis
  Scenario: Redis: a primary that is cut off together with a web acknowledges turns that are lost
    When I run the drill topologies/drills/control-redis.yaml
    Then it ends with 0
    And the report says pass
    And the checker finds a contradiction in its history

  Scenario: What there is to choose from
    When I run labctl engines --format json
    Then it ends with 0
    And it prints "the control case, which must fail a partition drill"
    When I run labctl setup etdc --dry-run
    Then it ends with 2
    And it says "did you mean `etcd`?"
