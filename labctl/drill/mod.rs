//! Drills: timetable, faults, verdict. Pure.
