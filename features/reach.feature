Feature: Who reaches whom

  Background:
    Given the site topologies/ha.yaml is up

  Scenario Outline: A web reaches all three databases
    Then <web> reaches db1:7000
    And <web> reaches db2:7000
    And <web> reaches db3:7000

    Examples:
      | web  |
      | web1 |
      | web2 |

  Scenario Outline: Nobody else reaches a database
    Then nothing answers <node> at db1:7000
    And nothing answers <node> at db2:7000
    And nothing answers <node> at db3:7000

    Examples:
      | node   |
      | proxy1 |
      | proxy2 |
      | client |

  Scenario: Both proxies reach both webs
    Then proxy1 reaches web1:8080
    And proxy1 reaches web2:8080
    And proxy2 reaches web1:8080
    And proxy2 reaches web2:8080

  Scenario: A client reaches the one public address and no machine behind it
    Then client reaches 203.0.113.10:80
    And nothing answers client at 10.10.1.21:8080
    And nothing answers client at 10.10.1.11:8080

  Scenario: Nodes that are cut off together reach each other, and nodes that are cut apart everybody else, until they are healed
    When I run in the lab cut db1 web1 --network data
    Then web1 reaches db1:7000
    And nothing answers web1 at db2:7000
    And nothing answers web2 at db1:7000
    And proxy1 reaches web1:8080
    When I run in the lab heal db1 web1
    Then web2 reaches db1:7000
    When I run in the lab cut db1 web1 --apart
    Then nothing answers web1 at db1:7000
    And web1 reaches db2:7000
    And web2 reaches db1:7000
