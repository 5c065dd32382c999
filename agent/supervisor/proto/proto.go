// Package proto is the language between the agent and the supervisor, PID 1 of a job's container.
//
// The supervisor dials; both sides then exchange frames (see Conn):
//
//	supervisor            agent
//	   │ ── hello ────────► │   versions it speaks, the steps it knows
//	   │ ◄─────── welcome ─ │   the version to speak; the pod's base environment, once
//	   │ ◄───────── start ─ │   a step, with descriptors: output, exit record, control group
//	   │ ── started ──────► │   or ended at once, if the command can't be executed
//	   │ ◄────────── stop ─ │
//	   │ ◄───────── lease ─ │   how long the steps may go on without another one
//	   │ ── ended ────────► │   whenever a step ends
//
// Start and Stop are idempotent by step id, so after a lost connection the agent simply asks again. The supervisor
// shares a container with untrusted steps, so the agent bounds and checks whatever it reads from it.
package proto

import "time"

// Versions of the protocol that this build speaks. An agent meets supervisors that an older agent started.
// Version 2 has a control group for each step, version 3 leases, version 4 filters, version 5 consoles.
const (
	MinVersion = 1
	MaxVersion = 5
	// GroupVersion is the first in which a step may bring a control group.
	GroupVersion = 2
	// LeaseVersion is the first that knows leases.
	LeaseVersion = 3
	// FilterVersion is the first in which the supervisor installs the seccomp filter.
	FilterVersion = 4
	// ConsoleVersion is the first in which a step may bring more than a file for its output.
	ConsoleVersion = 5
)

// Paths inside a job's container.
const (
	// Binary is where the supervisor is mounted.
	Binary = "/.slipway/supervisor"
	// Hold, as its only argument, has the program do nothing until its standard input ends: it keeps alive the namespaces in
	// which it was started.
	Hold = "--hold"
	// Become, followed by EnvironFile and a command, has the program become that command, with the variables of the file.
	Become = "--become"
	// EnvironFile is where variables are mounted that stand in no container's specification.
	EnvironFile = "/.slipway/environ"
	// SocketDir is the mounted directory in which the agent's socket appears.
	SocketDir = "/.slipway/run"
	// SocketName is the socket's name in that directory.
	SocketName = "agent.sock"
)

// Type says what a Message is.
type Type string

// The types of messages; see the package's picture.
const (
	TypeHello   Type = "hello"
	TypeWelcome Type = "welcome"
	TypeStart   Type = "start"
	TypeStarted Type = "started"
	TypeStop    Type = "stop"
	TypeEnded   Type = "ended"
	TypeLease   Type = "lease"
)

// Message is one frame's content. Exactly the field that belongs to its Type is set.
type Message struct {
	Type    Type     `json:"type"`
	Hello   *Hello   `json:"hello,omitempty"`
	Welcome *Welcome `json:"welcome,omitempty"`
	Start   *Step    `json:"start,omitempty"`
	Started *Started `json:"started,omitempty"`
	Stop    *Stop    `json:"stop,omitempty"`
	Ended   *Record  `json:"ended,omitempty"`
	Lease   *Lease   `json:"lease,omitempty"`
}

// Hello is the supervisor's first word on every connection.
type Hello struct {
	MinVersion int `json:"min_version"`
	MaxVersion int `json:"max_version"`
	// Running is the id of the step that runs now, or empty.
	Running string `json:"running,omitempty"`
	// Configured is whether a base was received before.
	Configured bool `json:"configured,omitempty"`
}

// Welcome answers Hello.
type Welcome struct {
	Version int `json:"version"`
	// Base is kept in the supervisor's memory only, from the first Welcome that has one: it may hold secrets.
	Base *Base `json:"base,omitempty"`
}

// Base is what all steps of a pod have in common.
type Base struct {
	// Env entries are KEY=value; a step's own come over them.
	Env []string `json:"env,omitempty"`
	// User as in an image's USER: name or uid, optionally with ":group".
	User string `json:"user,omitempty"`
	// Dir is the working directory of steps that name none.
	Dir string `json:"dir,omitempty"`
	// Filter is the program of a seccomp filter (seccomp(2), struct sock_filter) that the supervisor and all its steps are to be under. Empty: the runtime installed one.
	Filter []byte `json:"filter,omitempty"`
}

// Step is a process to start. Two descriptors travel with it: the output file and the exit record's file; then those of
// its control group.
type Step struct {
	ID   string   `json:"id"`
	Argv []string `json:"argv"`
	// Otherwise is run where there is no Argv[0]. A supervisor that does not know it says that there is none.
	Otherwise []string      `json:"otherwise,omitempty"`
	Env       []string      `json:"env,omitempty"`
	Dir       string        `json:"dir,omitempty"`
	User      string        `json:"user,omitempty"`
	Timeout   time.Duration `json:"timeout,omitempty"`
	Grace     time.Duration `json:"grace,omitempty"`
	// Group says what each descriptor after the first two is for (package cgroup has the purposes). Unknown ones are
	// ignored. Empty: the step shares the supervisor's control group.
	Group []string `json:"group,omitempty"`
	// Console makes a step of it whose input and output somebody holds: it ends, with all that it started, when its process does, and when
	// the connection to the agent does. Empty: an ordinary step.
	Console Console `json:"console,omitempty"`
}

// Console says what a step's descriptors for input and output are.
type Console string

// The kinds of consoles.
const (
	// Pipes: the output file is standard output; standard input and standard error follow after all others.
	Pipes Console = "pipes"
	// Terminal: the output file is a terminal, and is all three, and the step's controlling terminal.
	Terminal Console = "terminal"
)

// Files is how many descriptors follow after those of the group.
func (c Console) Files() int {
	if c == Pipes {
		return 2
	}
	return 0
}

// Started says that a step's process runs, or ran: a step is started at most once.
type Started struct {
	ID string `json:"id"`
}

// Stop asks to end a step: TERM now, KILL after the grace.
type Stop struct {
	ID    string        `json:"id"`
	Grace time.Duration `json:"grace"`
}

// Lease bounds how long the pod's steps may go on; each one takes the place of the one before. The first that runs out is the
// last: everything in the container gets TERM, after the grace KILL, and nothing starts any more. A supervisor that never got one
// goes on for ever.
type Lease struct {
	// Left from now on.
	Left  time.Duration `json:"left"`
	Grace time.Duration `json:"grace"`
}
