package main

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

func (a *app) coordinatorCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "coordinator", Short: "Run a coordinator", Args: cobra.NoArgs}
	f := cmd.Flags()
	file := f.String("config", "", "configuration file (YAML); flags win over it")
	data := f.String("data", "", "directory of the CA, the store, blobs and logs (default $XDG_DATA_HOME/slipway/coordinator)")
	listen := f.String("listen", "", "address of the gRPC server, host:port (default 127.0.0.1:7420)")
	metrics := f.String("metrics", "", "loopback address of /metrics, host:port (default 127.0.0.1:7421)")
	web := f.String("web", "", "address of the pages for browsers, host:port (default none)")
	hosts := f.StringSlice("host", nil, "DNS name or IP address by which others reach this coordinator; for its certificate")
	key := f.String("secrets-key", "", "file with the key of the secrets, if the configuration names neither a file nor a command; made if there is none")
	logs := addLogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		conf := config.Default()
		if *file != "" {
			var err error
			if conf, err = config.Load(*file); err != nil {
				return exit.With(exit.Invalid, err)
			}
		}
		if conf.DataDir == "" {
			conf.DataDir = filepath.Join(a.dirs().Data, "coordinator")
		}
		for flag, field := range map[*string]*string{data: &conf.DataDir, listen: &conf.Listen, metrics: &conf.Metrics, web: &conf.Web.Listen} {
			if *flag != "" {
				*field = *flag
			}
		}
		if conf.Secrets.KeyFile == "" && len(conf.Secrets.KeyCommand) == 0 {
			conf.Secrets.KeyFile = *key
		}
		conf.Hosts = append(conf.Hosts, *hosts...)
		if err := conf.Check(); err != nil {
			return exit.With(exit.Invalid, err)
		}
		server.TuneGC(a.getenv)
		return a.serve(cmd.Context(), "slipway-coordinator", logs, func(ctx context.Context, log *slog.Logger, tracers trace.TracerProvider) error {
			s, err := server.New(conf, log, server.WithTraces(tracers))
			if err != nil {
				return err
			}
			stop, err := a.notify(ctx, log, s.Ready(), answers(s.MetricsAddr()))
			if err != nil {
				return err
			}
			defer stop()
			return s.Run(ctx)
		})
	}
	return cmd
}

// answers is whether the coordinator's own web server does, whatever it says; without one, every process lives that can ask.
func answers(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		if addr == "" {
			return nil
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
}
