Feature: What a kernel lacks

  The kernel refuses a system call to the program and to all that it starts, in the words of one that does not know it: that stands
  for an older one.

  Scenario Outline: Without <what>, nat is balanced by nftables, and the lab says so and why
    When on a kernel without <what> I start topologies/vs-nat.yaml with "failover: { lease: false," instead of "failover: {"
    Then it ends with 0
    And client reaches 203.0.113.10:80
    And proxy1 says that it balances by nftables with connection tracking
    When I ask for the status of the lab
    Then it prints "because eBPF is not to be had"
    And it prints "<why>"

    Examples:
      | what | why                     |
      | eBPF | no bpf system call      |
      | tcx  | this kernel has no tcx  |

  Scenario Outline: Without <what>, <topology> is refused before anything is built, with the reason and what to do
    When on a kernel without <what> I start topologies/<topology>.yaml with "<new>" instead of "failover: {"
    Then it ends with 4
    And it says "<error>"
    And it says "<next>"

    Examples:
      | what | topology | new                       | error                                                                                    | next                       |
      | eBPF | vs-dr    | failover: { lease: false, | the balancer of this topology is an eBPF program, and this kernel has no bpf system call | have it balance by nftables |
      | tcx  | vs-tun   | failover: { lease: false, | the balancer of this topology is an eBPF program, and this kernel has no tcx             | have it balance by nftables |
      | tcx  | vs-nat   | failover: {               | is an eBPF program, and this kernel has no tcx                                           | lease: false               |
