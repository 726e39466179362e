Feature: Two webs remember for each other, and no database is asked

  Scenario: A conversation goes on at either web
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 2 things
    When web1 is told 2 things
    And web2 is told 2 things
    And web1 is told 1 thing
    Then what was said last is kept by both webs
    And both webs tell the same
    And the site remembers all of it, in order

  Scenario: A web dies and comes back, and then the other one dies
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 3 things
    When the web that answered is killed
    And the client says 3 more things
    Then the other web answered
    And what was said last is kept by one web
    When it comes back
    Then the lab is ready
    And both webs tell the same
    When the web that answered is killed
    And the client says 1 more thing
    Then the other web answered
    And the site remembers all of it, in order
    And at no time were both webs alone

  Scenario: The webs do not hear each other
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 3 things
    When web1 is cut off from data with its link up
    Then one web goes on alone and the other is fenced
    When the client says 3 more things
    And web1 is joined to data again
    Then the lab is ready
    And both webs tell the same
    And at no time were both webs alone

  Scenario: A web loses its peer and has no witness
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 3 things
    When third is powered off
    And the web that answered is killed
    Then the other web refuses, and says when to ask again
    When it comes back
    And third is switched on again
    Then the lab is ready
    And the site remembers all of it, in order

  Scenario Outline: Without a witness the file says what becomes of a web alone (<degrade>)
    Given the site topologies/ha-peer.yaml is up with "<degrade> }" instead of "witness, witness: third }"
    And the client begins a conversation and says 3 things
    When the web that answered is killed
    Then the other web <does>
    When it comes back
    Then the lab is ready
    And the site remembers all of it, in order

    Examples:
      | degrade | does                                |
      | never   | refuses, and says when to ask again |
      | always  | is alone                            |

  Scenario: Both webs end at once, and the memory with them
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 3 things
    When both webs are killed at once
    Then the lab is ready
    And the conversation is gone from both webs, and one of them says that memory was lost

  Scenario: A web that hung does not answer from an old memory
    Given the site topologies/ha-peer.yaml is up
    And the client begins a conversation and says 3 things
    When the web that answered hangs
    And the client says 3 more things
    Then asked before it goes on, it answers nothing stale when it does
    And the lab is ready
    And both webs tell the same
