Feature: A real server that is set wrongly is found and named, with the command that puts it right

  Scenario Outline: <method>: <mistake>
    Given the site topologies/vs-<method>.yaml is up
    When somebody runs "<command>" on web1
    Then the doctor comes to name "<finding>"
    And it ends with 1
    When I do as the doctor says
    Then the doctor comes to find nothing wrong with the lab

    Examples:
      | method | mistake                              | command                                           | finding                                                  |
      | dr     | it does not have the VIP             | ip address del 203.0.113.10/32 dev lo             | vip-missing: web1 does not have 203.0.113.10             |
      | dr     | it has the VIP where it is heard     | ip address add 203.0.113.10/24 dev front          | arp: web1 has 203.0.113.10 on front                      |
      | dr     | it answers ARP for the VIP           | sysctl -w net.ipv4.conf.all.arp_ignore=0          | arp: web1 answers ARP for 203.0.113.10 on front          |
      | dr     | it asks in the name of the VIP       | sysctl -w net.ipv4.conf.all.arp_announce=0        | arp: web1 may ask for others on front                    |
      | dr     | it filters by the way back           | sysctl -w net.ipv4.conf.all.rp_filter=1           | rp-filter: web1 drops requests that come by front        |
      | tun    | it does not have the VIP             | ip address del 203.0.113.10/32 dev lo             | vip-missing: web1 does not have 203.0.113.10             |
      | tun    | its segments do not fit              | ip route replace default via 192.0.2.1 metric 200 | mss: web1 asks clients for TCP segments of 1460          |
      | nat    | its answers do not pass the director | ip route add default via 10.10.1.22               | gateway: web1 answers by 10.10.1.22 instead of 10.10.1.1 |
