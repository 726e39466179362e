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
    When I run the drill topologies/drills/redis-cut.yaml
    Then it ends with 0
    And the report says pass
    And the checker finds a contradiction in its history

  @needs-postgres @timing
  Scenario: PostgreSQL: its primary loses its power, its standby takes over with every turn, and it comes back
    Given the site topologies/ha-postgres.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader is powered off
    Then the databases follow another leader
    When the client says 3 more things
    Then the site remembers all of it, in order
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

  @needs-postgres @timing
  Scenario: PostgreSQL: its primary hangs until another was promoted, and takes nothing back
    Given the site topologies/ha-postgres.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader hangs
    Then the databases follow another leader
    When the client says 3 more things
    And the one that hangs goes on
    Then the lab is ready
    And the databases follow another leader
    And the site remembers all of it, in order

  @needs-postgres @timing
  Scenario: PostgreSQL: a primary that is cut off together with a web takes nothing that it could not keep
    Given the site topologies/ha-postgres.yaml is up
    And the client begins a conversation and says 3 things
    When the database leader and the web that answered are cut off together
    Then the databases follow another leader
    And the site takes nothing more from the client
    When both are joined to the others again
    Then the lab is ready
    When the client says 2 more things
    Then the site remembers all of it, in order

  @needs-postgres @timing
  Scenario: PostgreSQL: two of three databases are down, and the site promises nothing
    Given the site topologies/ha-postgres.yaml is up
    And the client begins a conversation and says 3 things
    When two databases are powered off
    Then the site neither reads nor takes the next thing that the client will say
    When every database that is off comes back
    Then the lab is ready
    When the client says 1 more thing
    Then the site remembers all of it, in order

  Scenario: What there is to choose from
    When I run labctl engines --format json
    Then it ends with 0
    And it prints "the control case, which must fail a partition drill"
    When I run labctl setup etdc --dry-run
    Then it ends with 2
    And it says "did you mean `etcd`?"
