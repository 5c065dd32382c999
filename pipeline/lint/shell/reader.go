package shell

import "strings"

type reader struct {
	src      string
	at       int
	depth    int
	captured bool
	// tick: inside backquotes, which the next one ends.
	tick   bool
	script *Script
	// pending here-documents begin on the next line.
	pending []pendingHere
}

type pendingHere struct {
	delimiter    string
	stripTabs    bool
	quoted       bool
	commandIndex int
}

// group is an open compound command: { }, ( ), if, for, while, until, case.
type group struct {
	close string
	// first is the index of its first command.
	first int
}

func (r *reader) stop() {
	r.script.Partial = true
	r.at = len(r.src)
}

func (r *reader) done() bool { return r.at >= len(r.src) }

func (r *reader) peek() byte {
	if r.done() {
		return 0
	}
	return r.src[r.at]
}

func (r *reader) has(prefix string) bool {
	return strings.HasPrefix(r.src[min(r.at, len(r.src)):], prefix)
}

// blanks skips spaces, continued lines and comments, not newlines.
func (r *reader) blanks() {
	for !r.done() {
		switch c := r.src[r.at]; {
		case c == ' ' || c == '\t' || c == '\r':
			r.at++
		case c == '\\' && r.has("\\\n"):
			r.at += 2
		case c == '\\' && r.has("\\\r\n"):
			r.at += 3
		case c == '#':
			if end := strings.IndexByte(r.src[r.at:], '\n'); end >= 0 {
				r.at += end
			} else {
				r.at = len(r.src)
			}
		default:
			return
		}
	}
}

// list reads commands up to the closing byte, which it leaves; 0 is the end of the script.
func (r *reader) list(end byte) {
	if r.depth++; r.depth > MaxDepth {
		r.stop()
	}
	defer func() { r.depth-- }()
	var open []group
	// previous is the range of commands that the last command or group added, for what follows it.
	previousFirst := len(r.script.Commands)
	piping := -1
	for {
		r.blanks()
		if r.done() || end != 0 && r.peek() == end && !hasSubshell(open, end) {
			return
		}
		if op := r.operator(); op != "" {
			switch op {
			case "(":
				if open = append(open, group{")", len(r.script.Commands)}); len(open) > MaxDepth {
					r.stop()
				}
				continue
			case ")":
				open, previousFirst = r.closeGroup(open, ")", previousFirst)
				piping = r.after(previousFirst)
				continue
			case ";;", ";&", ";;&":
				if n := len(open); n > 0 && open[n-1].close == "esac" {
					r.pattern()
				}
			}
			piping = -1
			continue
		}
		first := len(r.script.Commands)
		kind := r.command(&open)
		switch kind {
		case "command":
			if len(r.script.Commands) > first && piping >= 0 {
				r.pipe(piping)
			}
			previousFirst = first
			if own := r.lastOwn(first); own >= 0 {
				previousFirst = own
			}
		case "open":
			continue // what was piped goes to the first command inside
		default: // a closing word
			open, previousFirst = r.closeGroup(open, kind, previousFirst)
		}
		piping = r.after(previousFirst)
	}
}

// hasSubshell: an open ( of this list must be closed first.
func hasSubshell(open []group, end byte) bool {
	if end != ')' {
		return false
	}
	for _, g := range open {
		if g.close == ")" {
			return true
		}
	}
	return false
}

// lastOwn is the index of the command that was just read: those of its substitutions come before it.
func (r *reader) lastOwn(first int) int {
	if n := len(r.script.Commands); n > first {
		return n - 1
	}
	return -1
}

// pipe joins the output of the commands from index on, which are a group or one command, to the command that was just read.
func (r *reader) pipe(from int) {
	into := len(r.script.Commands) - 1
	for i := from; i < into; i++ {
		if c := &r.script.Commands[i]; c.Into == waiting {
			c.Into = into
		}
	}
}

// waiting is the Into of commands whose pipe's other end is not read yet.
const waiting = -2

// operator reads a separator that stands here; "" if there is none.
func (r *reader) operator() string {
	for _, op := range []string{"\n", ";;&", ";;", ";&", ";", "&&", "||", "|&", "|", "&>>", "&>", "&", "(", ")"} {
		if !r.has(op) {
			continue
		}
		if op == "&>" || op == "&>>" {
			return ""
		}
		r.at += len(op)
		if op == "\n" {
			r.hereDocuments()
		}
		return op
	}
	return ""
}

// after looks at what follows a command or group that began at index first: a pipe, or `|| true`.
// It returns first if its output is piped on, else -1.
func (r *reader) after(first int) int {
	r.blanks()
	switch {
	case r.has("||"):
		save := r.at
		r.at += 2
		r.blanks()
		for r.peek() == '\n' && len(r.pending) == 0 {
			r.at++
			r.blanks()
		}
		for _, word := range []string{"true", ":", "exit 0", "echo"} {
			if r.has(word) && (r.at+len(word) >= len(r.src) || strings.IndexByte(" \t\r\n;&|)}", r.src[r.at+len(word)]) >= 0) {
				if n := len(r.script.Commands); n > first {
					r.script.Commands[n-1].Negligible = word != "echo" || !r.lineHas("exit 1")
				}
			}
		}
		r.at = save
	case r.has("|"):
		r.at++
		if r.peek() == '&' {
			r.at++
		}
		for i := first; i < len(r.script.Commands); i++ {
			if c := &r.script.Commands[i]; c.Into == -1 && c.Captured == r.captured {
				c.Into = waiting
			}
		}
		for {
			r.blanks()
			if r.peek() != '\n' || len(r.pending) > 0 {
				return first
			}
			r.at++
		}
	}
	return -1
}

// lineHas looks at the rest of the line, as far as people read it.
func (r *reader) lineHas(text string) bool {
	line, _, _ := strings.Cut(r.src[r.at:min(len(r.src), r.at+300)], "\n")
	return strings.Contains(line, text)
}

// closeGroup ends the innermost group of this kind, and gives its redirections to all commands in it.
func (r *reader) closeGroup(open []group, closing string, previousFirst int) ([]group, int) {
	for i := len(open) - 1; i >= 0; i-- {
		if open[i].close != closing {
			continue
		}
		first := open[i].first
		c := Command{Into: -1}
		r.redirects(&c)
		for j := first; j < len(r.script.Commands) && len(c.Redirects) > 0; j++ {
			if in := &r.script.Commands[j]; in.Captured == r.captured {
				in.Redirects = append(in.Redirects, c.Redirects...)
			}
		}
		return open[:i], first
	}
	return open, previousFirst
}

var opens = map[string]string{"{": "}", "if": "fi", "for": "done", "while": "done", "until": "done", "select": "done", "case": "esac"}

// command reads one simple command. It returns "command", "open" for a word that opens a group, or the word that closes one.
func (r *reader) command(open *[]group) string {
	c := Command{Into: -1, Captured: r.captured, Start: r.at}
	for {
		r.blanks()
		if r.done() || r.tick && r.peek() == '`' || strings.IndexByte("\n;|()", r.peek()) >= 0 && len(c.Words) > 0 || r.peek() == '&' && !r.has("&>") {
			break
		}
		if r.redirect(&c) {
			continue
		}
		before := r.at
		if strings.IndexByte("\n;|()", r.peek()) >= 0 {
			break
		}
		w := r.word()
		if r.at == before {
			r.at++ // never stand still
			break
		}
		if len(c.Words) == 0 && len(c.Assign) == 0 && !w.Dynamic && w.End-w.Start == len(w.Text) {
			switch w.Text {
			case "then", "else", "do", "elif", "!", "time", "in":
				c.Start = r.at
				continue
			case "}", "fi", "done", "esac":
				return w.Text
			case "function":
				r.blanks()
				r.script.Functions[r.word().Text] = true
				r.emptyParentheses()
				c.Start = r.at
				continue
			}
			if closing, ok := opens[w.Text]; ok {
				if *open = append(*open, group{closing, len(r.script.Commands)}); len(*open) > MaxDepth {
					r.stop()
				}
				r.header(w.Text)
				return "open"
			}
			if r.emptyParentheses() {
				r.script.Functions[w.Text] = true
				c.Start = r.at
				continue
			}
		}
		if len(c.Words) == 0 && isAssignment(w.Text) {
			c.Assign = append(c.Assign, w)
			r.array()
			continue
		}
		c.Words = append(c.Words, w)
	}
	if len(c.Words) > 0 || len(c.Assign) > 0 || len(c.Redirects) > 0 || len(c.Here) > 0 {
		r.script.Commands = append(r.script.Commands, c)
	}
	return "command"
}

// header skips what is no command: the words of `for` and `select`, and `case … in` with its first pattern.
func (r *reader) header(word string) {
	switch word {
	case "for", "select":
		for r.blanks(); !r.done() && strings.IndexByte("\n;", r.peek()) < 0; r.blanks() {
			before := r.at
			if r.word(); r.at == before {
				r.at++
			}
		}
	case "case":
		for r.blanks(); !r.done() && r.peek() != ';'; r.blanks() {
			before := r.at
			if w := r.word(); w.Text == "in" {
				break
			}
			if r.at == before {
				r.at++
			}
		}
		r.pattern()
	}
}

// pattern skips a pattern of `case` with its ), unless esac stands here.
func (r *reader) pattern() {
	for r.blanks(); r.peek() == '\n'; r.blanks() {
		r.at++
	}
	if r.has("esac") {
		return
	}
	for !r.done() && r.peek() != ')' && r.peek() != '\n' {
		before := r.at
		if r.word(); r.at == before {
			r.at++
		}
	}
	if r.peek() == ')' {
		r.at++
	}
}

func (r *reader) emptyParentheses() bool {
	save := r.at
	r.blanks()
	if r.peek() == '(' {
		r.at++
		r.blanks()
		if r.peek() == ')' {
			r.at++
			return true
		}
	}
	r.at = save
	return false
}

// array skips the (…) of NAME=(…).
func (r *reader) array() {
	if r.at == 0 || r.src[r.at-1] != '=' || r.peek() != '(' {
		return
	}
	for r.at++; !r.done() && r.peek() != ')'; {
		before := r.at
		if r.word(); r.at == before {
			r.at++
		}
	}
	if !r.done() {
		r.at++
	}
}

func isAssignment(text string) bool {
	name, _, ok := strings.Cut(text, "=")
	return ok && isName(strings.TrimSuffix(name, "+"))
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
