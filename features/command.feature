Feature: The program says what is wrong, and ends with a code that says it too

  Scenario: A faulty file: all mistakes at once, with their places, and nothing is built
    When I run labctl up fixtures/topologies/bad-addresses.yaml
    Then it ends with 2
    And it says "bad-addresses.yaml"
    And it prints nothing

  Scenario: A missing file
    When I run labctl up no-such-file.yaml
    Then it ends with 2
    And it says "no-such-file.yaml"

  Scenario: A dry run prints the steps and takes none
    When I run labctl up topologies/ha.yaml --dry-run
    Then it ends with 0
    And it prints "plug web1 into back"
    And it prints "start db3"

  Scenario: No such lab
    When I run labctl status no-such-lab
    Then it ends with 2
    And it says "no lab named no-such-lab is up"

  Scenario: An unknown verb
    When I run labctl upp
    Then it ends with 2

  Scenario Outline: What cannot be printed is an error
    When to a full device I run labctl <line>
    Then it ends with 4
    And it says "write to standard output: No space left on device"

    Examples:
      | line                                                               |
      | --help                                                             |
      | engines                                                            |
      | completions bash                                                   |
      | check fixtures/histories/consistent.jsonl                          |
      | drill list                                                         |
      | drill compare reports/samples/proxy-crash reports/samples/proxy-crash |
      | validate topologies/minimal.yaml                                   |

  Scenario: A lab that is up already is told of as one that has just been built
    Given the site topologies/minimal.yaml is up
    When it is brought up again from topologies/minimal.yaml
    Then it ends with 0
    And it says "is up already"
    And it prints ""ready_ms":null"

  Scenario: An interrupt of labctl hog alone ends the hog
    Given the site topologies/minimal.yaml is up
    When labctl hog takes port 9999 of web1 and is interrupted
    Then it ends with 130
    When in the lab I run labctl hog web1 --port 9999 --for 1ms
    Then it ends with 0
    When in the lab I run labctl hog db1 --port 7000
    Then it ends with 1
    And it says "port 7000 of db1 is in use"

  Scenario: exec ends as its command ended, and hands its input on
    Given the site topologies/minimal.yaml is up
    When I run on client: exit 7
    Then it ends with 7
    When I run on client: kill -KILL $$
    Then it ends with 137
    When I run on client: hostname
    Then it ends with 0
    And it prints "client"
    When I run on client with the input "hello": cat
    Then it prints "hello"
    When I run on client the program no-such-program
    Then it ends with 127
    When I run on client the program /etc/hosts
    Then it ends with 126

  Scenario: exec hands its terminal on
    Given the site topologies/minimal.yaml is up
    When I run on client: tty
    Then it ends with 1
    And it prints "not a tty"
    When I run on client from a terminal: tty
    Then it ends with 0
    And it prints "/dev/pts/"

  Scenario: exec on a node that the lab does not have
    Given the site topologies/minimal.yaml is up
    When I run on nobody: true
    Then it ends with 2
    And it says "the lab has no node nobody; it has"

  Scenario Outline: A missing privilege is named, with the way to get it
    When without the capability <capability> I run labctl up topologies/ha.yaml
    Then it ends with 4
    And it says "a lab needs <capability>"
    And it says "run it as root"

    Examples:
      | capability    |
      | CAP_NET_ADMIN |
      | CAP_SYS_ADMIN |
      | CAP_BPF       |

  Scenario: The network part works for an ordinary user in a user namespace
    When an ordinary user runs labctl up fixtures/labs/network-only.yaml in a user namespace
    Then it ends with 0
    And it prints "right:80 open"

  Scenario: A lease is more than an ordinary user can have, and the message says how to do without
    When an ordinary user runs labctl up fixtures/labs/leased.yaml in a user namespace
    Then it ends with 4
    And it says "a user namespace cannot load one"
    And it says "lease: false"

  Scenario: A node that is off is named with the way to switch it on
    Given the site topologies/minimal.yaml is up
    When client is powered off
    And I run on client: true
    Then it ends with 2
    And it says "client is down; `labctl power on client` starts it"

  Scenario Outline: A command about several nodes of which one will not do changes none: <command>
    Given the site topologies/minimal.yaml is up
    When in the lab I run labctl <command>
    Then it ends with 2
    And it says "<complaint>"
    When I run on web1: true
    Then it ends with 0

    Examples:
      | command                | complaint                    |
      | power off web1 nosuch  | the lab has no node nosuch   |
      | power off web1 web1    | web1 is named twice          |
      | power on client web1   | is up                        |
      | disk wipe db1          | db1 is up                    |
      | cut web1 web1          | web1 is named twice          |
      | cut web1 --apart       | name two nodes               |

  Scenario: Events tell what happened
    Given the site topologies/minimal.yaml is up
    When client is powered off
    And I ask for the events of the lab
    Then it prints "powered off"

  Scenario: A service is hung, goes on and is killed with all its processes
    Given the site topologies/minimal.yaml is up with "on: { street: 198.51.100.10 }, services: { family: { run: [/bin/sh, -c, 'sleep 1000 & wait'], restart: never } }" instead of "on: { street: 198.51.100.10 }"
    When I run on client: timeout 20 /bin/sh -c 'until grep -q "^sleep" /proc/[0-9]*/comm; do :; done'
    Then it ends with 0
    When the service family of client gets SIGSTOP
    And I run on client: timeout 20 /bin/sh -c 'until [ $(grep -c "^State.*stopped" /proc/[0-9]*/status | grep -c :1) = 2 ]; do :; done'
    Then it ends with 0
    When the service family of client gets SIGCONT
    And I run on client: timeout 20 /bin/sh -c 'until ! grep -q "^State.*stopped" /proc/[0-9]*/status; do :; done'
    Then it ends with 0
    When the service family of client gets SIGKILL
    And I run on client: timeout 20 /bin/sh -c 'until ! grep -q "^sleep" /proc/[0-9]*/comm; do :; done'
    Then it ends with 0

  Scenario: A cable that is cut keeps its carrier, and the plan knows
    Given the site topologies/minimal.yaml is up
    When web1 is cut off from data with its link up
    And I run on web1: cat /sys/class/net/data/carrier
    Then it prints "1"
    And what differs from the plan is that it would let web1 through on data
    And nothing answers web1 at db1:7000
    When web1 is joined to data again
    Then nothing differs from the plan
    And web1 reaches db1:7000
