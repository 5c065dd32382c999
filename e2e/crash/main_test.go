package crash

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
)

var (
	kills = flag.Int("kills", 4, "how often the coordinator is killed")
	seed  = flag.Uint64("seed", 1, "seed of the first kill")
	// A row of LEDGER.md.
	ledger = flag.String("ledger", "", "file that a line about these kills is appended to")
	commit = flag.String("commit", "", "commit that is tested, for the ledger")
)

// What this program is, and where: set for the processes that the test starts.
const (
	roleEnv    = "SLIPWAY_CRASH_ROLE"
	dirEnv     = "SLIPWAY_CRASH_DIR"
	addressEnv = "SLIPWAY_CRASH_ADDRESS"
	tokenEnv   = "SLIPWAY_CRASH_TOKEN"
)

// readyLine is what a process says once it works.
const readyLine = "ready"

const (
	agents        = 3
	slotsPerAgent = 4
)

func TestMain(m *testing.M) {
	flag.Parse()
	roles := map[string]func(context.Context) error{"coordinator": beCoordinator, "agents": beAgents}
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := roles[role](ctx); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

func beCoordinator(ctx context.Context) error {
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics = filepath.Join(os.Getenv(dirEnv), "data"), os.Getenv(addressEnv), ""
	conf.Runners = map[string]config.Runner{"crash": {Image: config.NoImage, Pool: config.DefaultPool}}
	conf.Agents.Heartbeat = config.Duration(500 * time.Millisecond)
	srv, err := server.New(conf, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	go func() {
		<-srv.Ready()
		fmt.Println(readyLine)
	}()
	return srv.Run(ctx)
}

// beAgents is hosts whose jobs do nothing but note that they ran.
func beAgents(ctx context.Context) error {
	dir := os.Getenv(dirEnv)
	ran, err := os.OpenFile(ranFile(dir), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = ran.Close() }()
	var all errgroup.Group
	for i := range agents {
		name := fmt.Sprintf("agent%d", i)
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("host", name)
		sb := fake.New(func(ctx context.Context, s fake.Step) int { return play(ctx, s, ran) })
		a, err := agent.New(agent.Config{Address: os.Getenv(addressEnv), DataDir: filepath.Join(dir, name, "data"), RunDir: filepath.Join(dir, name, "run"),
			JoinToken: os.Getenv(tokenEnv), Hostname: name, Slots: slotsPerAgent}, sb, log)
		if err != nil {
			return err
		}
		all.Go(func() error {
			err := a.Run(ctx)
			_ = sb.Close()
			return err
		})
	}
	fmt.Println(readyLine)
	return all.Wait()
}

func ranFile(dir string) string { return filepath.Join(dir, "ran") }

// play notes a step's mark, prints it, and takes as long as the mark says.
func play(ctx context.Context, s fake.Step, ran io.Writer) int {
	for _, e := range s.Env {
		mark, found := strings.CutPrefix(e, "MARK=")
		if !found {
			continue
		}
		// One write each, to a file that is appended to.
		if _, err := io.WriteString(ran, mark+"\n"); err != nil {
			return 1
		}
		fmt.Fprintln(s.Out, mark)
		select {
		case <-time.After(lengthOf(mark)):
			return 0
		case <-s.Term:
		case <-ctx.Done():
		}
		return 143
	}
	return 2
}

// lengthOf a step, up to 150 ms, by the digits that its mark ends with.
func lengthOf(mark string) time.Duration {
	sum := 0
	for _, c := range []byte(mark) {
		sum = sum*31 + int(c)
	}
	return time.Duration(sum&0xff) * 150 * time.Millisecond / 0xff
}
