package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/internal/tui"
	"github.com/slipway-ci/slipway/internal/version"
	"github.com/slipway-ci/slipway/sdk/client"
)

// app is what commands share: streams, environment, and the flags that every command has.
type app struct {
	out, err io.Writer
	// in is standard input, which may be a terminal.
	in     *os.File
	getenv func(string) string
	home   string
	uid    int
	now    func() time.Time
	// terminal is the size of the terminal that out is, or false.
	terminal func() (tui.Size, bool)
	// interrupts delivers the user's Ctrl-C from the call on.
	interrupts func() (<-chan os.Signal, func())

	override settings.Override
	project  string
	// running is set once arguments and flags were in order: errors before are usage errors.
	running bool
}

func newApp() *app {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return &app{
		out: os.Stdout, err: os.Stderr, in: os.Stdin, getenv: os.Getenv, home: home, uid: os.Geteuid(), now: time.Now,
		terminal: func() (tui.Size, bool) {
			w, h, err := term.GetSize(int(os.Stdout.Fd()))
			return tui.Size{Width: w, Height: h}, err == nil && w > 0 && h > 0
		},
		interrupts: func() (<-chan os.Signal, func()) {
			c := make(chan os.Signal, 2)
			signal.Notify(c, os.Interrupt, syscall.SIGTERM)
			return c, func() { signal.Stop(c) }
		},
	}
}

// main runs one command and returns the process's exit code. Whatever went wrong is said on err.
func (a *app) main(ctx context.Context, args []string) exit.Code {
	out := &sink{w: a.out}
	a.out = out
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err = out.judge(err); err == nil {
		return exit.OK
	}
	if !a.running && !errors.Is(err, errOutput) {
		if cmd.HasParent() {
			fmt.Fprintf(a.err, "slipway: %v\nUsage: %s\nSee `%s --help`.\n", err, cmd.UseLine(), cmd.CommandPath())
			return exit.Invalid
		}
		fmt.Fprintf(a.err, "slipway: %v\nSee `slipway --help`.\n", err)
		return exit.Invalid
	}
	show.Error(a.err, err)
	return exit.Of(err)
}

func (a *app) dirs() settings.Dirs { return settings.DirsFrom(a.getenv, a.home, a.uid) }

func (a *app) style() tui.Style {
	s := tui.StyleFrom(a.getenv)
	if _, ok := a.terminal(); !ok {
		s.Colour = false
	}
	return s
}

// client connects to the coordinator that flags, environment or the context file name.
func (a *app) client() (*client.Client, error) {
	o := a.overrides()
	c, err := settings.Resolve(a.dirs().ContextFile(), o)
	switch {
	case errors.Is(err, settings.ErrNoContext) && o.Context == "":
		return nil, exit.With(exit.System, err)
	case err != nil:
		return nil, exit.With(exit.Invalid, err)
	}
	if a.project == "" {
		a.project = c.Project
	}
	conf := client.Config{Address: c.Address, Token: c.Token, UserAgent: "slipway/" + version.String(), Traceparent: a.getenv("TRACEPARENT")}
	if c.CA != "" {
		if conf.CA, err = client.ReadCA(c.CA); err != nil {
			return nil, exit.With(exit.Invalid, err)
		}
	}
	cl, err := client.New(conf)
	return cl, exit.With(exit.Invalid, err)
}

// overrides lets flags win over the environment.
func (a *app) overrides() settings.Override {
	o := a.override
	for env, field := range map[string]*string{"SLIPWAY_CONTEXT": &o.Context, "SLIPWAY_ADDRESS": &o.Address, "SLIPWAY_CA": &o.CA, "SLIPWAY_TOKEN": &o.Token} {
		if *field == "" {
			*field = a.getenv(env)
		}
	}
	if a.override.TokenFile != "" {
		o.Token = ""
	}
	return o
}

// withClient is a command's body that needs a coordinator.
func (a *app) withClient(body func(ctx context.Context, cl *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cl, err := a.client()
		if err != nil {
			return err
		}
		return errors.Join(body(cmd.Context(), cl, args), cl.Close())
	}
}

// output adds `-o` to a command.
func output(cmd *cobra.Command) *string {
	format := cmd.Flags().StringP("output", "o", string(show.Text), "output format: text or json")
	// The flag is there: the only error is a misspelt name.
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(show.Text), string(show.JSON)}, cobra.ShellCompDirectiveNoFileComp)))
	return format
}

// notPast refuses a life of a token that is over already; 0 is the coordinator's default.
func notPast(ttl time.Duration) error {
	if ttl < 0 {
		return exit.Invalidf("--ttl %s: it can't be in the past", ttl)
	}
	return nil
}

// asJSON checks the value of `-o`.
func asJSON(format string) (bool, error) {
	f, err := show.ParseFormat(format)
	return f == show.JSON, exit.With(exit.Invalid, err)
}

// request is what a command's arguments ask for. dir is -C: paths are seen from there, as if the command had been started in it.
func (a *app) request(file, ref, event, payload, dir string) (launch.Request, error) {
	r := launch.Request{Dir: dir, File: file, Ref: ref, Event: event, PayloadFile: payload, Project: a.project}
	if dir != "" {
		return r.From(dir)
	}
	var err error
	r.Dir, err = os.Getwd()
	return r, exit.With(exit.System, err)
}

// first is the optional first argument.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// splitList takes a,b and repeated flags alike.
func splitList(values []string) []string {
	var out []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

var _ launch.API = (*client.Client)(nil)
