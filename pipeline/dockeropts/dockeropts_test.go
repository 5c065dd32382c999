package dockeropts

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	got, err := Parse(`--health-cmd "pg_isready -U 'me'" --health-interval=10s
		--health-timeout 5s --health-retries 5 --health-start-period 1m --user 1000:1000
		-e A=1 --env "B=x y" --cpus 1.5 --memory 512m --pids-limit 100 --network-alias db --init --name ignored`)
	want := Options{
		Health: Health{Command: "pg_isready -U 'me'", Interval: 10 * time.Second, Timeout: 5 * time.Second, StartPeriod: time.Minute, Retries: 5},
		User:   "1000:1000", Env: []string{"A=1", "B=x y"}, Aliases: []string{"db"}, CPUMilli: 1500, Memory: 512 << 20, PIDs: 100,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err := Parse("--no-healthcheck"); err != nil || !got.NoHealth {
		t.Fatal(got, err)
	}
	if got, err := Parse("  \n"); err != nil || !reflect.DeepEqual(got, Options{}) {
		t.Fatal(got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for s, want := range map[string]string{
		"--health-interval 10": "`10` is not a duration",
		"--health-interval":    "needs a value",
		"--health-retries -1":  "not a whole number",
		"--privileged":         "--privileged is not supported",
		"-v /:/host":           "-v is not supported",
		"--helth-cmd x":        "did you mean --health-cmd?",
		"--zzz":                "unknown container option --zzz",
		"--health-cmd a b":     "`b` is no option",
		`--health-cmd "a`:      "left open",
		"-e HOME":              "give a value",
		"--memory lots":        "not an amount of memory",
	} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
	}
}

func TestWordsQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-z "'\\$]{1,6}`)).Draw(t, "words")
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		got, err := Words(strings.Join(quoted, " \t"))
		if err != nil || strings.Join(got, "|") != strings.Join(words, "|") {
			t.Fatalf("%q %v, want %q", got, err, words)
		}
	})
}

func TestParsePort(t *testing.T) {
	for s, want := range map[string]Port{
		"5432": {0, 5432, false}, "5432:5432": {5432, 5432, false}, "8080:80/tcp": {8080, 80, false}, "53/udp": {0, 53, true}, "127.0.0.1:1:2": {1, 2, false},
	} {
		if got, err := ParsePort(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "1:2:3:4", "70000", "0", "1:x", "80/sctp", "10.0.0.1:1:2", "1-3"} {
		if got, err := ParsePort(s); err == nil {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestCheckSaysWhatCannotBeDone(t *testing.T) {
	for _, tt := range []struct {
		options string
		service bool
		want    string
	}{
		{"--health-cmd true --user 1 -e A=b --init", true, ""},
		{"--cpus 1 --memory 1g --pids-limit 9 --no-healthcheck", false, ""},
		{"--cpus 1", true, "--cpus"},
		{"-m 1g", true, "--memory"},
		{"--no-healthcheck", true, "--no-healthcheck"},
		{"--network-alias x", true, "--network-alias"},
		{"-h x", false, "--hostname"},
		{"-w /x", false, "--workdir"},
	} {
		o, err := Parse(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		err = o.Check(tt.service)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want+" is not supported") {
			t.Errorf("%q: %v, want %q", tt.options, err, tt.want)
		}
	}
}
