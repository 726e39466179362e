Feature: The site has the shape of its file

  Scenario: Every machine and every address is there, and nothing else
    Given the site topologies/ha.yaml is up
    Then there are 3 db nodes, all up
    And there are 2 web nodes, all up
    And there are 2 proxy nodes, all up
    And every node has the addresses that topologies/ha.yaml gives it, and none besides but floating ones
    And nothing differs from the plan
    And the lab is ready

  Scenario: A second up of the same file changes nothing
    Given the site topologies/ha.yaml is up
    When I run up once more with the same name and the file topologies/ha.yaml
    Then it ends with 0
    And it says "up already, of the same topology; nothing changed"
    And every node still has its process

  Scenario: A second up of another file is refused and changes nothing
    Given the site topologies/ha.yaml is up
    When I run up once more with the same name and the file topologies/ha-none.yaml
    Then it ends with 2
    And it says "is up already, of another topology; nothing changed"
    And every node still has its process

  Scenario: Two labs of the same file stand side by side
    Given the site topologies/ha.yaml is up under the name site
    And the site topologies/ha.yaml is up under the name second
    Then the lab second is ready
    When the lab second goes down
    Then the lab is ready
    And client gets an answer from http://203.0.113.10/healthz

  Scenario: The smallest site works too
    Given the site topologies/minimal.yaml is up
    Then the lab is ready
    And client gets an answer from http://203.0.113.10/healthz
