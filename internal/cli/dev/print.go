package dev

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print shows a status to people.
func Print(w io.Writer, s Status) error {
	health := "healthy"
	if !s.Healthy {
		health = "not healthy: " + s.Problem
	}
	running := 0
	for _, p := range s.Processes {
		running += p.PID
	}
	if running == 0 {
		health = "not running"
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "%s at %s\n", health, s.Address)
	fmt.Fprintln(tw, "PROCESS\tPID\tLOG")
	for _, p := range s.Processes {
		pid := "-"
		if p.PID != 0 {
			pid = fmt.Sprint(p.PID)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", p.Name, pid, p.Log)
	}
	fmt.Fprintf(tw, "data is in %s\n", s.Data)
	return tw.Flush()
}
