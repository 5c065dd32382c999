package shell

import "strings"

// redirects reads all redirections that stand here.
func (r *reader) redirects(c *Command) {
	for {
		r.blanks()
		if !r.redirect(c) {
			return
		}
	}
}

// redirect reads one redirection into c, if one stands here.
func (r *reader) redirect(c *Command) bool {
	at, fd := r.at, -1
	for at < len(r.src) && r.src[at] >= '0' && r.src[at] <= '9' && at-r.at < 3 {
		fd = max(fd, 0)*10 + int(r.src[at]-'0')
		at++
	}
	rest := r.src[at:]
	op := ""
	for _, candidate := range []string{"&>>", "&>", "<<<", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"} {
		if strings.HasPrefix(rest, candidate) {
			op = candidate
			break
		}
	}
	switch {
	case op == "" || fd >= 0 && op[0] == '&':
		return false
	case (op == "<" || op == ">") && strings.HasPrefix(rest[1:], "("):
		return false // a process substitution is a word
	}
	r.at = at + len(op)
	r.blanks()
	target := r.word()
	if op == "<<" || op == "<<-" {
		raw := r.src[target.Start:target.End]
		r.pending = append(r.pending, pendingHere{target.Text, op == "<<-", strings.ContainsAny(raw, `'"\`), len(r.script.Commands)})
		return true
	}
	c.Redirects = append(c.Redirects, Redirect{fd, op, target})
	return true
}

// hereDocuments reads the bodies that begin on this line.
func (r *reader) hereDocuments() {
	pending := r.pending
	r.pending = nil
	for _, h := range pending {
		begin := r.at
		end := begin
		for !r.done() {
			line := r.src[r.at:]
			next := len(r.src)
			if i := strings.IndexByte(line, '\n'); i >= 0 {
				line, next = line[:i], r.at+i+1
			}
			line = strings.TrimSuffix(line, "\r")
			if h.stripTabs {
				line = strings.TrimLeft(line, "\t")
			}
			end = r.at
			r.at = next
			if line == h.delimiter {
				break
			}
			end = next
		}
		body := Word{Text: r.src[begin:end], Start: begin, End: end}
		if !h.quoted {
			body.Vars = variables(body.Text)
		}
		body.Dynamic = len(body.Vars) > 0 || strings.IndexByte(body.Text, mark) >= 0
		if h.commandIndex < len(r.script.Commands) {
			c := &r.script.Commands[h.commandIndex]
			c.Here = append(c.Here, body)
		}
	}
}

// variables are the names behind each $ of a text.
func variables(s string) []string {
	var out []string
	for i := 0; i+1 < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '$':
			if name := variable(s[i+1:]); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

// variable reads NAME or {NAME…, as it stands behind a $.
func variable(s string) string {
	s = strings.TrimLeft(s, "{")
	end := 0
	for end < len(s) && isName(s[:1]) && (s[end] == '_' || s[end] >= 'a' && s[end] <= 'z' || s[end] >= 'A' && s[end] <= 'Z' || s[end] >= '0' && s[end] <= '9') {
		end++
	}
	return s[:end]
}

// word reads one word, with its quotes taken off. It does not move if no word stands here.
func (r *reader) word() Word {
	w := Word{Start: r.at}
	var text strings.Builder
	for !r.done() {
		c := r.src[r.at]
		switch {
		case (c == '<' || c == '>') && strings.HasPrefix(r.src[r.at+1:], "("):
			r.at++
			w.Dynamic = true
			r.substitution(')')
			continue
		case r.tick && c == '`' || strings.IndexByte(" \t\r\n;&|()<>", c) >= 0:
			w.Text, w.End = text.String(), r.at
			return w
		case c == '\'':
			r.at++
			end := strings.IndexByte(r.src[r.at:], '\'')
			if end < 0 {
				end = len(r.src) - r.at
			}
			part := r.src[r.at : r.at+end]
			w.Dynamic = w.Dynamic || strings.IndexByte(part, mark) >= 0
			text.WriteString(part)
			r.at = min(r.at+end+1, len(r.src))
		case c == '"':
			r.at++
			for !r.done() && r.peek() != '"' && (!r.tick || r.peek() != '`') {
				r.character(&w, &text, true)
			}
			if r.peek() == '"' {
				r.at++
			}
		default:
			r.character(&w, &text, false)
		}
	}
	w.Text, w.End = text.String(), r.at
	return w
}

// character reads one character, variable or substitution.
func (r *reader) character(w *Word, text *strings.Builder, quoted bool) {
	c := r.src[r.at]
	switch {
	case c == '\\' && r.at+1 < len(r.src):
		next := r.src[r.at+1]
		r.at += 2
		if next == '\n' {
			return
		}
		if quoted && strings.IndexByte("$`\"\\", next) < 0 {
			text.WriteByte('\\')
		}
		text.WriteByte(next)
	case c == '`':
		w.Dynamic = true
		text.WriteByte('`')
		r.substitution('`')
	case c == '$' && r.has("$(("):
		w.Dynamic = true
		r.arithmetic(text)
	case c == '$' && r.has("$("):
		w.Dynamic = true
		text.WriteString("$()")
		r.at++
		r.substitution(')')
	case c == '$' && !quoted && r.has("$'"):
		r.at++
	case c == '$':
		if name := variable(r.src[r.at+1:]); name != "" {
			w.Vars = append(w.Vars, name)
		}
		w.Dynamic = true
		text.WriteByte(c)
		r.at++
		if r.peek() == '{' {
			r.braces(w, text)
		}
	default:
		w.Dynamic = w.Dynamic || c == mark
		text.WriteByte(c)
		r.at++
	}
}

// braces reads ${…}: its default may hold spaces, quotes and further variables.
func (r *reader) braces(w *Word, text *strings.Builder) {
	if r.depth++; r.depth > MaxDepth {
		r.stop()
		return
	}
	defer func() { r.depth-- }()
	text.WriteByte('{')
	r.at++
	for !r.done() && r.peek() != '}' && r.peek() != '\n' && (!r.tick || r.peek() != '`') {
		r.character(w, text, true)
	}
	if r.peek() == '}' {
		text.WriteByte('}')
		r.at++
	}
}

// arithmetic skips $((…)).
func (r *reader) arithmetic(text *strings.Builder) {
	text.WriteString("$(())")
	open := 0
	for r.at++; !r.done(); r.at++ {
		switch r.peek() {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				r.at++
				return
			}
		case '\n':
			return
		}
	}
}

// substitution reads the commands of $(…), `…` or <(…), from its opening character on.
func (r *reader) substitution(end byte) {
	r.at++
	captured, pending, tick := r.captured, r.pending, r.tick
	r.captured, r.pending, r.tick = true, nil, end == '`'
	r.list(end)
	r.captured, r.pending, r.tick = captured, pending, tick
	if r.peek() == end {
		r.at++
	}
}
