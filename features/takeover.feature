Feature: Takeover keeps connections

  The client draws files and converses, each over one TCP connection, while the director that carries all of that goes. The
  files and conversations end well, or the connection broke: nobody opens another one.

  Scenario Outline: <method>: the active director is <death>, and no connection breaks, since both have the same table
    Given the site topologies/vs-<method>.yaml is up with the line "sync: false" after "forward: <method>"
    And the client draws files and converses from 3 addresses, and meets both webs
    When proxy1 is <death>
    Then proxy2 holds the VIP
    And each of these connections goes on to its end
    And no connection of the client was reset

    Examples:
      | method | death       |
      | nat    | killed      |
      | nat    | stopped     |
      | nat    | powered off |
      | tun    | killed      |
      | tun    | stopped     |
      | tun    | powered off |
      | dr     | killed      |
      | dr     | stopped     |
      | dr     | powered off |

  Scenario Outline: <method>: <change> on the way, so that the tables differ, and no connection breaks, since the other director was told of each
    Given the site topologies/vs-<method>.yaml is up with the line "sync: true" after "forward: <method>"
    And the client draws files and converses from 3 addresses, and meets both webs
    When <change>
    And proxy2 has been told of these connections
    And proxy1 is killed
    Then proxy2 holds the VIP
    And each of these connections goes on to its end
    And no connection of the client was reset

    Examples:
      | method | change                          |
      | nat    | web1 is drained                 |
      | tun    | web1 is drained                 |
      | dr     | web1 is drained                 |
      | nat    | the weight of web1 is set to 20 |

  Scenario Outline: <method>: a director that was off comes back with another table, is told of each connection, takes over again, and none breaks
    Given the site topologies/vs-<method>.yaml is up with the line "sync: true" after "forward: <method>"
    When web1 is drained
    And the client draws files and converses from 3 addresses
    And proxy1 is powered off
    Then proxy2 holds the VIP
    When it comes back
    Then proxy1 holds the VIP
    And each of these connections goes on to its end
    And no connection of the client was reset

    Examples:
      | method |
      | nat    |
      | tun    |
      | dr     |

  Scenario Outline: <method>: without flow sync, a takeover after a drain breaks what the other director would have given to somebody else
    Given the site topologies/vs-<method>.yaml is up with the line "sync: false" after "forward: <method>"
    And the client draws files and converses from 3 addresses, and meets both webs
    When web1 is drained
    And proxy1 is killed
    Then proxy2 holds the VIP
    And each of these connections to web1 breaks, and each of the others goes on to its end

    Examples:
      | method |
      | nat    |
      | tun    |
      | dr     |

  Scenario Outline: proxy: the active director is <death>, and each connection breaks, since it ended there; the next one is served
    Given the site topologies/vs-proxy.yaml is up
    And the client draws files and converses from 3 addresses, and meets both webs
    When proxy1 is <death>
    Then proxy2 holds the VIP
    And each of these connections breaks
    And client gets an answer from http://203.0.113.10/healthz

    Examples:
      | death       |
      | killed      |
      | stopped     |
      | powered off |
