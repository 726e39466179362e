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
