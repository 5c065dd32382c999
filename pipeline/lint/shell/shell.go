// Package shell finds the commands of a shell script without running it: enough to say what a step calls, what that
// prints, and where it goes. It is a reader for lints, not a shell: what it does not know it leaves out, and it never fails.
//
// The time is linear in the script's length; groups and substitutions nested deeper than MaxDepth end the reading.
package shell

// MaxDepth bounds the nesting of groups and substitutions.
const MaxDepth = 40

// Word is one word of a command.
type Word struct {
	// Text without quotes; $NAME stays as written.
	Text string
	// Start and End are the bytes of the script that it was read from.
	Start, End int
	// Vars are the names of the variables that it expands.
	Vars []string
	// Dynamic: a variable, a substitution or a workflow expression is part of it.
	Dynamic bool
}

// Redirect is one redirection of a command.
type Redirect struct {
	// FD is the file descriptor before the operator, -1 without one.
	FD     int
	Op     string
	Target Word
}

// Command is one simple command.
type Command struct {
	// Words of the command, its name first; empty if it only assigns.
	Words []Word
	// Assign are the NAME=value before it.
	Assign    []Word
	Redirects []Redirect
	// Here are the bodies of its here-documents.
	Here []Word
	// Into is the index of the command that its output is piped into, -1 without one.
	Into int
	// Captured: it stands in $( ), backquotes or <( ), so its output is not printed.
	Captured bool
	// Negligible: a `|| true` or the like stands behind it, so that its failure is lost.
	Negligible bool
	// Start is where it begins in the script.
	Start int
}

// Name is the command's name, without a path; "" if it has none or a computed one.
func (c *Command) Name() string {
	if len(c.Words) == 0 || c.Words[0].Dynamic {
		return ""
	}
	name := c.Words[0].Text
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

// Args are the texts of the words behind the name.
func (c *Command) Args() []string {
	if len(c.Words) < 2 {
		return nil
	}
	out := make([]string, 0, len(c.Words)-1)
	for _, w := range c.Words[1:] {
		out = append(out, w.Text)
	}
	return out
}

// Script is what was read.
type Script struct {
	Commands []Command
	// Functions that it defines.
	Functions map[string]bool
	// Partial: the reading ended early, at what is nested too deeply.
	Partial bool
}

// mark stands for each byte of a workflow expression; no script has it otherwise.
const mark = '\x01'

// Read takes a script apart. Workflow expressions (${{ }}) in it are parts of words.
func Read(src string) *Script {
	r := &reader{src: maskExpressions(src), script: &Script{Functions: map[string]bool{}}}
	r.list(0)
	return r.script
}

// maskExpressions keeps offsets, so that a word's range tells which expressions are in it.
func maskExpressions(src string) string {
	out := []byte(src)
	for i := 0; i+2 < len(out); i++ {
		if out[i] != '$' || out[i+1] != '{' || out[i+2] != '{' {
			continue
		}
		inString := false
		end := len(out)
		for j := i + 3; j+1 < len(out); j++ {
			if out[j] == '\'' {
				inString = !inString
			} else if !inString && out[j] == '}' && out[j+1] == '}' {
				end = j + 2
				break
			}
		}
		for ; i < end; i++ {
			out[i] = mark
		}
		i--
	}
	return string(out)
}
