Feature: An election that asks the balancer

  Scenario: A proxy that reaches no web behind it gives the address up, if the file has the election ask its balancer
    Given the site topologies/ha.yaml is up with "advert: 100ms, checks: { balancer: { weight: 60 } }" instead of "advert: 100ms"
    Then proxy1 holds the VIP
    When the link back of proxy1 goes down
    Then proxy2 holds the VIP
    And client gets an answer from http://203.0.113.10/healthz
