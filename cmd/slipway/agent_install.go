package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/install"
)

// installation is what the flags of `agent install` say.
type installation struct {
	conf               agentconf.Config
	binary, user, root string
	print              bool
}

func (a *app) agentInstallCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make the agent a systemd service of this host",
		Long: `Write the agent's unit and configuration, and put its join token where only it can read it. Doing it again
changes only what is different; flags that are not given keep what the configuration has. Nothing is started.`,
		Args: cobra.NoArgs,
	}
	var in installation
	f := cmd.Flags()
	f.StringVar(&in.conf.Coordinator, "coordinator", "", "coordinator, host:port")
	f.StringVar(&in.conf.TokenFile, "token-file", "", "file with a join token, - for standard input; needed once")
	f.StringVar(&in.conf.CA, "ca", "", "file with the coordinator's CA certificate (default: the token's pin recognises it)")
	f.StringVar(&in.conf.Metrics, "metrics", "", "loopback address of /metrics, host:port")
	f.IntVar(&in.conf.Slots, "slots", 0, "how many jobs run at once (default twice the number of processors)")
	f.StringVar(&in.conf.Sandbox.Kind, "sandbox", "", "where jobs run: containerd (default), or process: on this host itself, not isolated")
	f.StringVar(&in.user, "user", "", "user of the service, with --sandbox process (default slipway-agent)")
	f.StringVar(&in.binary, "binary", "", "path of slipway for the service (default this executable's)")
	f.StringVar(&in.root, "root", "/", "directory to install below, e.g. of a host's image")
	f.BoolVar(&in.print, "print", false, "show what would be written, and write nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.installAgent(cmd.InOrStdin(), in) }
	return cmd
}

func (a *app) installAgent(stdin io.Reader, in installation) error {
	agent, err := a.wanted(stdin, in)
	if err != nil {
		return exit.With(exit.Invalid, err)
	}
	files, err := agent.Files()
	if err != nil {
		return exit.With(exit.Invalid, err)
	}
	if in.print {
		return exit.With(exit.System, a.printFiles(in.root, files))
	}
	written, err := install.Write(in.root, files, ownerOf(agent.User))
	for _, path := range written {
		fmt.Fprintln(a.out, "written:", filepath.Join(in.root, path))
	}
	if err != nil {
		return exit.With(exit.System, err)
	}
	if len(written) == 0 {
		fmt.Fprintln(a.out, "Everything is as it should be; nothing was written.")
		return nil
	}
	fmt.Fprintln(a.out, "Now: systemctl daemon-reload && systemctl enable slipway-agent && systemctl restart slipway-agent")
	return nil
}

// wanted lays the flags over the configuration that is there.
func (a *app) wanted(stdin io.Reader, in installation) (install.Agent, error) {
	agent := install.Agent{Binary: in.binary, User: in.user}
	file := filepath.Join(in.root, install.ConfigPath)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		file = ""
	}
	flags := in.conf
	flags.TokenFile, flags.CA, flags.DataDir = "", "", install.DataDir
	var err error
	if agent.Conf, err = a.agentConfig(file, flags); err != nil {
		return agent, err
	}
	switch in.conf.TokenFile {
	case "":
	case "-":
		agent.Token, err = io.ReadAll(io.LimitReader(stdin, 1<<16))
	default:
		agent.Token, err = os.ReadFile(in.conf.TokenFile)
	}
	if err == nil && in.conf.CA != "" {
		agent.CA, err = os.ReadFile(in.conf.CA)
	}
	if err == nil && agent.Binary == "" {
		agent.Binary, err = os.Executable()
	}
	if agent.Conf.Sandbox.Kind == agentconf.Process && agent.User == "" {
		agent.User = "slipway-agent"
	}
	if agent.User == "root" {
		agent.User = ""
	}
	return agent, err
}

func (a *app) printFiles(root string, files []install.File) error {
	for _, f := range files {
		same, err := f.Same(root)
		if err != nil {
			return err
		}
		path, what := filepath.Join(root, f.Path), "would write"
		if same {
			what = "is there"
		}
		fmt.Fprintf(a.out, "# %s %s (mode %04o)\n", what, path, f.Mode)
		if f.Private {
			fmt.Fprintf(a.out, "# %d bytes, not shown\n\n", len(f.Content))
			continue
		}
		fmt.Fprintf(a.out, "%s\n", f.Content)
	}
	return nil
}

// ownerOf returns nil for root, who writes the files.
func ownerOf(name string) func(path string) error {
	if name == "" {
		return nil
	}
	return func(path string) error {
		u, err := user.Lookup(name)
		if err != nil {
			return fmt.Errorf("%w; make the user first (deploy/systemd/slipway.sysusers.conf)", err)
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		if err := errors.Join(uerr, gerr); err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	}
}
