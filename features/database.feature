Feature: A database dies

  Background:
    Given the site topologies/ha.yaml is up
    And the client begins a conversation and says 3 things

  @timing
  Scenario Outline: The leader is <death>: another leads, writes go on, nothing is lost
    When the database leader is <death>
    And the client says one thing as soon as the site takes it
    Then the databases follow another leader
    When the client says 3 more things
    Then the site remembers all of it, in order
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |

  Scenario Outline: A follower is <death>: nobody notices
    When a database that follows is <death>
    And the client says 3 more things
    Then the site remembers all of it, in order
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

    Examples:
      | death       |
      | killed      |
      | powered off |

  Scenario: All databases lose their power and whatever they have not flushed: no acknowledged turn is lost
    When all databases lose their power while the client talks
    And every database that is off comes back
    Then the lab is ready
    When the client says 1 more thing
    Then the site remembers all of it, in order

  Scenario: Two of three databases are down: the site promises nothing, and loses nothing
    When two databases are powered off
    Then the site neither reads nor writes, and says when to ask again
    When every database that is off comes back
    And the client says 1 more thing
    Then the site remembers all of it, in order

  Scenario: A disk is damaged: its database says so and what helps, and that helps
    When a database that follows is stopped
    And its disk is damaged
    And it comes back
    Then its log and the status of the lab name the file and the way out
    When somebody does what the log says
    Then the lab is ready
    And the site remembers all of it, in order
