Feature: Whatever is killed, nothing stays

  @alone
  Scenario: kill -9 of the holder, 20 times
    Given I take down what is on the machine
    When 20 times topologies/ha.yaml is up and its holder is killed
    Then the machine is as it was

  @alone
  Scenario: kill -9 of labctl up half-way, 20 times
    Given I take down what is on the machine
    When 20 times labctl up of topologies/ha.yaml is killed half-way
    Then the machine is as it was

  @alone
  Scenario: kill -9 of any node, 20 times
    Given I take down what is on the machine
    When 20 times a node of topologies/ha.yaml is killed and then the lab goes down
    Then the machine is as it was

  @alone
  Scenario: Ctrl-C while the lab starts
    Given I take down what is on the machine
    When Ctrl-C interrupts labctl up
    Then the machine is as it was

  @alone
  Scenario: down --wait proves that every namespace is gone
    Given I take down what is on the machine
    And the site topologies/ha.yaml is up
    When the lab goes down with --wait
    Then it says "its 12 network namespaces are gone"
    And the machine is as it was

  @alone
  Scenario: A lab that cannot become ready leaves nothing
    Given I take down what is on the machine
    When I run labctl up fixtures/labs/never-ready.yaml --within 2s
    Then it ends with 1
    And it says "still waiting for"
    And the machine is as it was
