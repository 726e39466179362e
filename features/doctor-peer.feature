Feature: What is wrong with the memory of two webs, and who says so

  Background:
    Given the site topologies/ha-peer.yaml is up

  Scenario: The webs do not hear each other
    Then the doctor comes to find nothing wrong with the lab
    When web1 is cut off from data with its link up
    Then the doctor comes to name "peers: web1 (fenced) and web2 (alone) both run, and are no pair"
    And it prints "fenced: web1 has been fenced for"
    And it prints "witness: the witness on third does not answer web1:"
    When web1 is joined to data again
    Then the doctor comes to find nothing wrong with the lab

  Scenario: The witness does not answer
    When the service witness of third gets SIGSTOP
    Then the doctor comes to name "witness: the witness on third does not answer web1, web2"
    When third is powered off
    Then the doctor comes to name "witness: the witness on third does not run"
