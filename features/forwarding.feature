Feature: Which way answers take

  What the forwarding methods promise (nat, tun and dr), told by the kernel's counters and by what is heard on the wires.

  Scenario: nat: every byte of an answer passes the balancer
    Given the site topologies/vs-nat.yaml is up
    And somebody listens on street of client
    When the client downloads 1048576 bytes over each of 8 connections
    Then every byte of that came to proxy1 by back and left it by front
    And proxy2 sent less than 5 % of that
    And client was answered by nobody but the VIP

  Scenario: nat: with both balancers gone nothing is reachable, though the webs live
    Given the site topologies/vs-nat.yaml is up
    Then client reaches 203.0.113.10:80
    When proxy1 is powered off
    And proxy2 is powered off
    Then nothing answers client at 203.0.113.10:80
    And nothing answers client at 10.10.1.21:8080
    And nothing answers client at 10.10.1.22:8080
    And web1 reaches web2:8080
    And web2 reaches web1:8080

  Scenario Outline: <method>: answers do not pass the balancer, and yet the client sees only the VIP
    Given the site topologies/vs-<method>.yaml is up
    And somebody listens on street of client
    When the client downloads 1048576 bytes over each of 8 connections
    Then the directors together sent less than 5 % of that
    And client was answered by nobody but the VIP

    Examples:
      | method |
      | tun    |
      | dr     |

  Scenario: tun: the webs are in another network, behind another router, and packets reach them inside of packets
    Given the site topologies/vs-tun.yaml is up
    And somebody listens on far of web1
    And somebody listens on far of web2
    When the client downloads 1000 bytes over each of 20 connections
    Then both webs answered
    And what the client sends to the VIP reaches web1 inside of packets from 203.0.113.11 to 192.0.2.21
    And what the client sends to the VIP reaches web2 inside of packets from 203.0.113.11 to 192.0.2.22
    And web1 answers the client as the VIP and by the hardware address of exit
    And web2 answers the client as the VIP and by the hardware address of exit

  Scenario: dr: on one switch, only the hardware addresses of a packet change
    Given the site topologies/vs-dr.yaml is up
    And somebody listens on front of web1
    And somebody listens on front of web2
    When the client downloads 1000 bytes over each of 20 connections
    Then both webs answered
    And what the client sends to the VIP reaches web1 from the hardware address of proxy1
    And what the client sends to the VIP reaches web2 from the hardware address of proxy1
    And web1 answers the client as the VIP and by the hardware address of router
    And web2 answers the client as the VIP and by the hardware address of router

  Scenario: dr: a router between the balancer and the webs is refused
    When I validate topologies/vs-tun.yaml with "forward: dr" instead of "forward: tun"
    Then it ends with 2
    And it says "web1, a real server of web, is on no network with proxy1, and dr changes nothing but the hardware address"

  Scenario: dr: a router between the balancer and the webs, forced, leaves clients without an answer
    Given the site topologies/vs-tun.yaml is up by force with "forward: dr" instead of "forward: tun"
    Then proxy1 reaches web1:80
    And proxy1 reaches web2:80
    And nothing answers client at 203.0.113.10:80

  Scenario: nat: datagrams are balanced as connections are, and their answers come from the VIP
    Given the site topologies/vs-nat.yaml is up with the line "  names: { port: 53, protocol: udp, scheduler: rr, check: { run: [/bin/true] } }" after "services:"
    And both webs answer datagrams on port 53
    When the client sends 20 datagrams to 203.0.113.10:53, each from a port of its own
    Then both webs answered equally often

  Scenario Outline: <method>: over IPv6, what a client uploads to the VIP arrives whole, and both webs get some of it
    Given the site fixtures/labs/<method>6.yaml is up
    And both webs take in uploads on port 81
    When the client uploads 4194304 bytes to [2001:db8:f::10]:81 over each of 10 connections
    Then both webs answered

    Examples:
      | method |
      | nat    |
      | tun    |
      | dr     |

  @timing @needs-tbf
  Scenario: As load grows, visitors share the balancer's link in nat, and pass it by in tun and dr
    When in nat, by a director with a narrow link, one visitor downloads, and then four at once
    And in tun, by a director with a narrow link, one visitor downloads, and then four at once
    And in dr, by a director with a narrow link, one visitor downloads, and then four at once
    Then in nat four at once took more than twice as long as one
    And four at once took less than half as long in tun as in nat
    And four at once took less than half as long in dr as in nat

  Scenario Outline: <method>: a site has one public address
    Given the site topologies/vs-<method>.yaml is up
    Then client reaches 203.0.113.10:80
    And of all addresses of the site only 203.0.113.10 answers client at port 80 or 8080

    Examples:
      | method |
      | nat    |
      | proxy  |
