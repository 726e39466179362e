Feature: What people have balancers do while they run

  Scenario: A web that is drained gets no new connections, and its old ones end in peace
    Given the site topologies/ha.yaml is up
    And client has an open connection to 203.0.113.10:80
    When the web of that connection is drained
    Then it ends with 0
    And new connections are answered by the other web only
    And that connection is answered as before
    When the client hangs up
    Then draining the web once more, and waiting, ends with 0

  Scenario: Weights say who gets how many connections
    Given the site topologies/ha.yaml is up with "scheduler: wrr" instead of "scheduler: sh"
    When the balancers are told to weight web web2 3
    Then it ends with 0
    When the client makes 8 connections to the VIP
    Then web1 answered 2 times and web2 6 times

  Scenario: A web can be removed and added again
    Given the site topologies/ha.yaml is up with "scheduler: wrr" instead of "scheduler: sh"
    When the balancers are told to remove web web1
    Then it ends with 0
    And all of 8 new connections to the VIP are answered by web2
    When the balancers are told to add web web1
    Then it ends with 0
    And every balancer lists web1 as up
    When the client makes 10 connections to the VIP
    Then both webs answered equally often

  Scenario: Changes are made on every director, and a daemon that is killed goes on with them
    Given the site topologies/ha.yaml is up
    When the balancers are told to weight web web1 3
    Then every balancer lists web1 with weight 3
    When the service balancer of proxy1 gets SIGKILL
    And the service balancer of proxy2 gets SIGKILL
    Then every balancer lists web1 with weight 3

  Scenario Outline: A name that nobody has changes nothing
    Given the site topologies/ha.yaml is up
    When the balancers are told to <words>
    Then it ends with 2
    And it says "<hint>"

    Examples:
      | words                       | hint                                     |
      | weight web wbe1 3           | web has no real server wbe1              |
      | weight web wbe1 3           | did you mean `web1`?                     |
      | drain wbe web1              | there is no virtual service wbe          |
      | add web wbe9                | there is no node wbe9                    |
      | add web 10.10.2.21:80       | not on the network of the real servers   |
      | add web 10.10.1.21:8080     | has the real server 10.10.1.21:8080 already |
      | list --node web1            | web1 of lab                              |

  Scenario: A program says who is well
    Given the site topologies/ha.yaml is up with "run: [sh, -c, 'test ! -e /run/out-$LABCTL_REAL_NODE'], interval: 1s, timeout: 900ms" instead of "http: /healthz, interval: 200ms, timeout: 150ms"
    When I run on proxy1: touch /run/out-web1
    Then proxy1 lists web1 as down
    And all of 8 new connections to the VIP are answered by web2
    When I run on proxy1: rm /run/out-web1
    Then proxy1 lists web1 as up

  Scenario: With nobody well, everybody gets connections
    Given the site topologies/ha.yaml is up with "run: [sh, -c, 'test ! -e /run/out'], interval: 1s, timeout: 900ms" instead of "http: /healthz, interval: 200ms, timeout: 150ms"
    When I run on proxy1: touch /run/out
    Then proxy1 lists web as open to all
    When the client connects to the VIP once from each of 20 addresses, twice over
    Then both webs answered

  Scenario: With nobody well, nobody gets connections if the topology says so
    Given the site topologies/ha.yaml is up with "fail_open: false, check: { run: [sh, -c, 'test ! -e /run/out'], interval: 1s, timeout: 900ms" instead of "check: { http: /healthz, interval: 200ms, timeout: 150ms"
    When I run on proxy1: touch /run/out
    Then proxy1 lists web1 as down
    And proxy1 lists web2 as down
    And client gets no connection to 203.0.113.10:80

  Scenario: A web that comes back gets its share by and by
    Given the site topologies/ha.yaml is up with "scheduler: wrr, slow_start: 600s" instead of "scheduler: sh"
    When web1 hangs
    Then the balancer takes it out
    When web1 goes on
    Then the balancer takes it back
    And proxy1 lists web1 as warming up
    When the client makes 22 connections to the VIP
    Then web1 answered less often than web2

  Scenario: What is listed agrees with what the clients did
    Given the site topologies/ha.yaml is up with "scheduler: rr" instead of "scheduler: sh"
    When the client makes 10 connections to the VIP
    Then proxy1 counts as many connections as were answered
    When the balancers are told to list --numeric
    Then it prints "TCP  203.0.113.10:80 rr"
    And it prints "-> 10.10.1.21:8080              Masq    1"
    When the balancers are told to stats --numeric
    Then it prints "Conns   InPkts  OutPkts  InBytes OutBytes"

  Scenario Outline: A connection outlives its director although its web is drained, because the heir was told of it
    Given the site topologies/ha.yaml is up
    And client has an open connection to 203.0.113.10:80
    When the web of that connection is drained
    And every balancer knows that connection
    And proxy1 is <death>
    Then that connection is answered as before

    Examples:
      | death       |
      | killed      |
      | powered off |
      | stopped     |
