package logs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Forms returns the texts that give a value away: the value itself first, then all that tools make of it when they put it
// into something else — base64, JSON, a URI, XML, a shell's word. It is what language.md, rule 6, asks for. Pure; each text
// once, in a fixed order, none for "".
//
// Of base64 these are the characters that the value decides, wherever it stands in what was encoded: three alignments, in
// both alphabets. Of the character that the value's end shares with what follows, every possibility is hidden; the one
// that its beginning shares with what comes before stays, and tells at most the upper four bits of the first byte. A value
// of less than four bytes decides two characters or so, which would hide half of every log: it is hidden where it was
// encoded alone, with its padding.
func Forms(value string) []string {
	f := forms{seen: map[string]bool{"": true}}
	f.add(value)
	if n := len(value); n > 1 && value[0] == value[n-1] && strings.IndexByte(`"'`, value[0]) >= 0 {
		// A shell takes the quotes away that a value was stored with.
		f.add(value[1 : n-1])
	}
	f.base64(value)
	f.json(value)
	f.uri(value)
	f.xml(value)
	f.shell(value)
	return f.all
}

type forms struct {
	all  []string
	seen map[string]bool
}

func (f *forms) add(texts ...string) {
	for _, t := range texts {
		if !f.seen[t] {
			f.seen[t] = true
			f.all = append(f.all, t)
		}
	}
}

const (
	// leastBase64 is how many bytes decide enough characters, four, to be looked for in the middle of a text.
	leastBase64 = 4
	digits      = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	alphabet    = digits + "+/"
)

// wraps are the columns at which base64 (GNU, BusyBox, MIME) and openssl break their lines.
var wraps = []int{76, 64}

func (f *forms) base64(value string) {
	switch {
	case value == "":
		return
	case len(value) < leastBase64:
		f.add(base64.StdEncoding.EncodeToString([]byte(value)))
		return
	}
	for shift := range 3 {
		f.shifted(value, shift, true)
	}
	for _, columns := range wraps {
		bytesALine := columns / 4 * 3
		if len(value) <= bytesALine {
			continue
		}
		rest := value
		for len(rest) > bytesALine {
			f.add(base64.StdEncoding.EncodeToString([]byte(rest[:bytesALine])))
			rest = rest[bytesALine:]
		}
		if len(rest) >= leastBase64 {
			f.shifted(rest, 0, false)
		}
	}
}

// shifted adds the characters that a value decides which begins `shift` bytes after a multiple of three, with urls in both
// alphabets.
func (f *forms) shifted(value string, shift int, urls bool) {
	all := base64.StdEncoding.EncodeToString(append(make([]byte, shift, shift+len(value)), value...))
	begin, bits := (8*shift+5)/6, 8*(shift+len(value))
	end := bits / 6
	texts := []string{all[begin:end], all[begin:]} // the second with the padding, if this is the end
	if shared := 6 - bits%6; shared < 6 {
		zeros := strings.IndexByte(alphabet, all[end])
		for next := range 1 << shared {
			texts = append(texts, all[begin:end]+alphabet[zeros+next:zeros+next+1])
		}
	}
	for _, t := range texts {
		f.add(t)
		if urls && strings.ContainsAny(t, "+/") {
			f.add(forURLs.Replace(t))
		}
	}
}

var forURLs = strings.NewReplacer("+", "-", "/", "_")

func (f *forms) json(value string) {
	if !utf8.ValidString(value) {
		return
	}
	plain, html := inJSON(value, false), inJSON(value, true)
	f.add(plain, html, strings.ReplaceAll(plain, "/", `\/`))
	var ascii strings.Builder
	for _, r := range plain {
		if r < 0x7f {
			ascii.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&ascii, `\u%04x`, unit)
		}
	}
	f.add(ascii.String())
}

// inJSON is a text between the quotes of a JSON string.
func inJSON(value string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if e.Encode(value) != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}

func (f *forms) uri(value string) {
	const (
		unreserved = "-_.~"                    // RFC 3986
		component  = "-_.~!*'()"               // encodeURIComponent of ECMAScript
		whole      = component + ";,/?:@&=+$#" // encodeURI
		inPath     = unreserved + "/"          // quote of Python
		segment    = unreserved + "$&+=:@"     // PathEscape of Go
		password   = unreserved + "$&+,;="     // UserPassword of Go
	)
	strict := percent(value, unreserved, "0123456789ABCDEF")
	f.add(strict, percent(value, unreserved, "0123456789abcdef"))
	for _, safe := range []string{component, whole, inPath, segment, password} {
		f.add(percent(value, safe, "0123456789ABCDEF"))
	}
	f.add(strings.ReplaceAll(strict, "%20", "+"))
}

// percent encodes every byte that is neither a letter, nor a digit, nor safe.
func percent(value, safe, hex string) string {
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if c < utf8.RuneSelf && (strings.IndexByte(digits, c) >= 0 || strings.IndexByte(safe, c) >= 0) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

var (
	xmlText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	xmlQuotes = []*strings.Replacer{
		strings.NewReplacer(`"`, "&quot;"),
		strings.NewReplacer(`"`, "&quot;", "'", "&apos;"),
		strings.NewReplacer(`"`, "&quot;", "'", "&#39;"),
		strings.NewReplacer(`"`, "&quot;", "'", "&#x27;"),
		strings.NewReplacer(`"`, "&#34;", "'", "&#39;"),
	}
)

func (f *forms) xml(value string) {
	text := xmlText.Replace(value)
	f.add(text)
	for _, quotes := range xmlQuotes {
		f.add(quotes.Replace(text))
	}
}

var (
	// ansiC is bash's $'…'.
	ansiC = strings.NewReplacer(`\`, `\\`, "'", `\'`, "\a", `\a`, "\b", `\b`, "\x1b", `\E`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`)
	// words of POSIX shells and, the last one, of PowerShell, SQL, YAML and GitHub's expressions.
	words = []*strings.Replacer{
		strings.NewReplacer("'", `'\''`),
		strings.NewReplacer("'", `'"'"'`),
		strings.NewReplacer(`"`, `\"`),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`"),
		ansiC,
		strings.NewReplacer("'", "''"),
	}
)

func (f *forms) shell(value string) {
	for _, w := range words {
		f.add(w.Replace(value))
	}
	// `printf %q` of bash.
	const special = " !\"$&'()*,;<>?[\\]^`{|}"
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if strings.IndexByte(special, c) >= 0 || i == 0 && (c == '~' || c == '#') || i > 0 && c == '~' && strings.IndexByte(":=", value[i-1]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	f.add(b.String())
}
