Feature: A web dies in the middle of a conversation

  Scenario Outline: With the databases as memory another web takes it up (<death>)
    Given the site topologies/ha.yaml is up
    And the client begins a conversation and says 3 things
    When the web that answered is <death>
    And the client says 3 more things
    Then the other web answered
    And the site remembers all of it, in order

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |

  Scenario Outline: Without memory the conversation is lost (<death>)
    Given the site topologies/ha-none.yaml is up
    And the client begins a conversation and says 3 things
    Then the site remembers all of it, in order
    When the web that answered is <death>
    Then the conversation is lost

    Examples:
      | death       |
      | killed      |
      | powered off |

  Scenario: A proxy dies in the middle of a conversation
    Given the site topologies/ha.yaml is up
    And the client begins a conversation and says 3 things
    When proxy1 is powered off
    And the client says 3 more things
    Then the site remembers all of it, in order
