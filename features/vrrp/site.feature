Feature: What the site needs beyond the RFC

  @L01 @needs-site
  Scenario: The whole site comes up with the engine in the place of our own daemon
    Given the site with the engine under test
