Feature: Why web and database have machines of their own

  The same site twice. In separate.yaml each web and each database has a machine; in colocated.yaml each web shares one with a
  database, and has what both had before. Whatever goes wrong on a machine stays there: what counts is who else is on it.

  @timing @needs-cpu-limits @needs-memory-limits
  Scenario: A neighbour that wants all of the processor
    Given the site topologies/separate.yaml is up under the name apart
    And the site topologies/colocated.yaml is up under the name together
    When a neighbour of web1 keeps two threads busy, on the same machine in together and on another in apart
    Then web1 of together answers at least 4 times as slowly as web1 of apart
    And the kernel throttled that neighbour's machine in both labs, and web1 of apart at most a tenth as often

  @needs-cpu-limits @needs-memory-limits
  Scenario: A neighbour that leaks memory
    Given the site topologies/separate.yaml is up under the name apart
    And the site topologies/colocated.yaml is up under the name together
    When a neighbour of web1 leaks memory, on the same machine in together and on another in apart
    Then the kernel killed processes for their memory on that neighbour's machine in both labs
    And web1 of together lost its web or its database to that, and web1 of apart nothing

  @needs-cpu-limits @needs-memory-limits
  Scenario: A machine that is switched off, a disk that is full, a port that is taken
    Given the site topologies/separate.yaml is up under the name apart
    And the site topologies/colocated.yaml is up under the name together
    Then a program on web1 of apart can have port 7000, and on web1 of together it cannot
    When web1 fills its disk in both labs
    Then the database of web1 in together has ended, and all 3 of apart run
    When web1 is switched off in both labs
    Then 2 databases of together are left, and 3 of apart

  @needs-memory-limits
  Scenario: A hog that the kernel kills says so
    Given the site topologies/separate.yaml is up
    When in the lab I run labctl hog web1 --memory 256MiB
    Then it ends with 137
    And it says "the kernel's OOM killer ended the hog: the memory of web1 is used up"

  @alone @needs-cpu-limits @needs-memory-limits
  Scenario: kill -9 of a lab with limits leaves no control group
    Given I take down what is on the machine
    And the site topologies/colocated.yaml is up
    When its holder is killed
    Then the machine is as it was
    Given the site topologies/colocated.yaml is up
    When its holder and whoever sweeps after it are killed
    Then control groups are left
    When I run labctl list
    Then the machine is as it was

  Scenario: Limits that cannot be kept are refused
    When an ordinary user runs labctl up fixtures/labs/limited.yaml in a user namespace
    Then it ends with 4
    And it says "the limits of this topology cannot be kept: no writable"
    And it says "--without-limits"
