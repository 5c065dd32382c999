package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Record says how a step ended. The supervisor writes it to a file that the agent opened, in a directory that no
// container sees, so that it outlives agent and container.
type Record struct {
	ID       string        `json:"id"`
	Code     int           `json:"code"`
	Signal   int           `json:"signal,omitempty"`
	TimedOut bool          `json:"timed_out,omitempty"`
	Message  string        `json:"message,omitempty"`
	Duration time.Duration `json:"duration"`
	// Cause of a command that did not run, for programs; Message is for people.
	Cause Cause `json:"cause,omitempty"`
	// Stopped: the agent asked to end the step, or its time was up.
	Stopped bool `json:"stopped,omitempty"`
	// Lapsed: it was stopped because the pod's lease ran out.
	Lapsed bool `json:"lapsed,omitempty"`
	// Killed: something of the step outlived TERM and its grace, and got KILL.
	Killed bool `json:"killed,omitempty"`
	// Grouped: the step had a control group of its own, and the counts below are of it.
	Grouped bool `json:"grouped,omitempty"`
	// OOMKills counts processes that the kernel killed for want of memory.
	OOMKills int64 `json:"oom_kills,omitempty"`
	// ForksRefused counts forks that failed because of a limit of processes.
	ForksRefused int64 `json:"forks_refused,omitempty"`
	// Left counts the processes that the step left behind.
	Left int `json:"left,omitempty"`
}

// LeaseOver is whether the pod's lease ended the step, or kept it from starting.
func (r Record) LeaseOver() bool { return r.Lapsed || r.Cause == CauseLapsed }

// Cause is why a command did not run.
type Cause string

// The causes; "" is one without a name here.
const (
	CauseNotFound      Cause = "not-found"
	CauseNotExecutable Cause = "not-executable"
	CauseDirectory     Cause = "directory"
	CauseUser          Cause = "user"
	CauseTooLong       Cause = "arguments-too-long"
	CauseProcesses     Cause = "no-process"
	CauseMemory        Cause = "no-memory"
	CauseBusy          Cause = "busy"
	CauseInvalid       Cause = "invalid"
	CauseLapsed        Cause = "lease-over"
)

// ErrNoRecord: the record is not there yet, or was not written to its end.
var ErrNoRecord = errors.New("proto: no complete exit record")

// EncodeRecord returns a record's bytes: one line of JSON, one line with its CRC-32 (IEEE). Written by a single write
// and checked when read, so it is either whole or absent, without a rename in a directory that the writer would need.
func EncodeRecord(r Record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding exit record of step %s: %w", r.ID, err)
	}
	return fmt.Appendf(body, "\n%08x\n", crc32.ChecksumIEEE(body)), nil
}

// DecodeRecord reads what EncodeRecord wrote; ErrNoRecord if it is empty, cut or damaged.
func DecodeRecord(data []byte) (Record, error) {
	body, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(rest) != fmt.Sprintf("%08x\n", crc32.ChecksumIEEE(body)) {
		return Record{}, ErrNoRecord
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrNoRecord, err)
	}
	return r, nil
}
