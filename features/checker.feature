Feature: A history of conversations is judged, and the exit code is the verdict

  Scenario Outline: What a history shows
    When I run labctl check fixtures/histories/<history>.jsonl
    Then it ends with <code>
    And it prints "<words>"

    Examples:
      | history    | code | words                                                                         |
      | consistent | 0    | consistent: one order explains every answer                                   |
      | lost       | 1    | line 15: the final transcript of web2, read at 9.100 s, does not have it      |
      | order      | 1    | So an acknowledged turn was hidden from somebody who asked for it later.      |
      | vacuous    | 4    | proves too little: 0 acknowledged turns after `power off of proxy1`, 1 wanted |

  Scenario: A faulty history is refused, line by line
    When I run labctl check fixtures/histories/bad-lines.jsonl
    Then it ends with 2
    And it says "line 2: unknown field `postion`"
    And it says "line 10: the read was answered, but its `keys` are missing"
    And it prints nothing
