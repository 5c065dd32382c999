package native

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/glob"
	"github.com/slipway-ci/slipway/agent/reports"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// uploadArtifact has the meaning of actions/upload-artifact v4: an immutable, named zip whose root is the least common
// ancestor of the search paths.
func uploadArtifact(ctx context.Context, c *Call) (Outcome, error) {
	name := c.input("name", "artifact")
	if c.Hide(name) != name {
		return Outcome{}, userErrorf("the artifact's name holds a value that the job masks, and everybody may read names: give it another one")
	}
	if err := checkArtifactName(name); err != nil {
		return Outcome{}, err
	}
	overwrite, err := c.flag("overwrite", false)
	if err != nil {
		return Outcome{}, err
	}
	level, err := c.compression()
	if err != nil {
		return Outcome{}, err
	}
	days, err := c.retentionDays()
	if err != nil {
		return Outcome{}, err
	}
	files, root, err := c.toUpload()
	if err != nil {
		return Outcome{}, err
	}
	if len(files) == 0 {
		return Outcome{}, c.nothingFound()
	}
	c.Log("With the provided path, there will be %s uploaded; the artifact's root is %s.", plural(len(files), "file"), root)
	f, err := c.scratch("artifact")
	if err != nil {
		return Outcome{}, err
	}
	zipped := &fetched{File: f}
	defer zipped.discard()
	tests, err := c.zip(ctx, f, files, root, level)
	if err != nil {
		return Outcome{}, fmt.Errorf("upload-artifact: %w", err)
	}
	digest, size, err := c.put(ctx, f)
	if err != nil {
		return Outcome{}, fmt.Errorf("upload-artifact: store %s: %w", name, err)
	}
	a := &corev1.Artifact{Name: name, Digest: digest, Size: size, Files: uint32(len(files)), Tests: tests, JobId: c.JobID, RetentionDays: days}
	if err := c.create(ctx, a, overwrite); err != nil {
		return Outcome{}, err
	}
	c.Log("Artifact %s has %s, %d bytes, %s.", name, plural(len(files), "file"), size, digest)
	if tests != nil {
		c.Log("Its JUnit files hold %s: %d failed, %d errors, %d skipped.", plural(int(tests.Tests), "test"), tests.Failures, tests.Errors, tests.Skipped)
	}
	return Outcome{Outputs: []commands.Pair{
		{Name: "artifact-id", Value: name}, {Name: "artifact-digest", Value: strings.TrimPrefix(digest, "sha256:")},
	}}, nil
}

func (c *Call) create(ctx context.Context, a *corev1.Artifact, overwrite bool) error {
	err := c.retry(ctx, func(ctx context.Context, client fleetv1.FleetServiceClient) error {
		_, err := client.CreateArtifact(ctx, &fleetv1.CreateArtifactRequest{AttemptId: c.AttemptID, Token: c.Token, Artifact: a, Overwrite: overwrite})
		return err
	})
	if rpcerr.ReasonOf(err) == rpcerr.AlreadyExists {
		return userErrorf("an artifact named %q exists in this run already, and artifacts don't change; give this one another name (e.g. with the matrix values in it), or set overwrite: true", a.GetName())
	}
	if err != nil {
		return fmt.Errorf("upload-artifact: name %s: %w", a.GetName(), err)
	}
	return nil
}

// checkArtifactName refuses the characters that v4 refuses, because a name becomes a directory's at download.
func checkArtifactName(name string) error {
	if i := strings.IndexAny(name, "\":<>|*?\r\n\\/"); i >= 0 {
		return userErrorf("the artifact name %q holds %q, which it may not; the characters \" : < > | * ? \\ / and line ends are not allowed", name, name[i:i+1])
	}
	if len(name) > 255 || name == "." || name == ".." || strings.ContainsRune(name, 0) {
		return userErrorf("%.40q can't be an artifact's name", name)
	}
	return nil
}

// retentionDays is 0 for as long as the run.
func (c *Call) retentionDays() (uint32, error) {
	days, err := strconv.ParseUint(c.input("retention-days", "0"), 10, 32)
	if err != nil {
		return 0, userErrorf("input retention-days must be a number of days, 0 for as long as the run is kept, not %q", c.With["retention-days"])
	}
	return uint32(days), nil
}

func (c *Call) compression() (int, error) {
	level, err := strconv.Atoi(c.input("compression-level", "6"))
	if err != nil || level < 0 || level > 9 {
		return 0, userErrorf("input compression-level must be 0 to 9, not %q", c.With["compression-level"])
	}
	return level, nil
}

func (c *Call) toUpload() (files []string, root string, err error) {
	if c.input("path", "") == "" {
		return nil, "", userErrorf("input path is missing: which files?")
	}
	hidden, err := c.flag("include-hidden-files", false)
	if err != nil {
		return nil, "", err
	}
	set := glob.Compile(strings.Split(c.With["path"], "\n"), c.Trees[0].Prefix, c.Home)
	files, err = set.Find(c.Trees, glob.Options{Hidden: hidden})
	var outside *glob.OutsideError
	if errors.As(err, &outside) || errors.Is(err, glob.ErrTooMany) {
		return nil, "", &UserError{Err: err}
	}
	if err != nil {
		return nil, "", err
	}
	return files, artifactRoot(set.SearchPaths(), files), nil
}

// artifactRoot is v4's rule for what the paths inside an artifact are relative to.
func artifactRoot(search, files []string) string {
	switch {
	case len(search) > 1:
		return glob.CommonAncestor(search)
	case len(files) == 1 && len(search) == 1 && search[0] == files[0]:
		return path.Dir(files[0])
	case len(search) == 1:
		return search[0]
	default:
		return "/"
	}
}

func (c *Call) nothingFound() error {
	message := fmt.Sprintf("No files were found with the provided path: %s. No artifacts will be uploaded.", strings.Join(strings.Fields(c.With["path"]), ", "))
	switch v := c.input("if-no-files-found", "warn"); v {
	case "warn":
		c.Annotate("warning", message)
		return nil
	case "ignore":
		c.Log("%s", message)
		return nil
	case "error":
		return &UserError{Err: errors.New(message)}
	default:
		return userErrorf("input if-no-files-found must be warn, error or ignore, not %q", v)
	}
}

// zip writes the files in the order of their names, without times or owners: the same files give the same digest.
func (c *Call) zip(ctx context.Context, w io.Writer, files []string, root string, level int) (*corev1.TestSummary, error) {
	zw := zip.NewWriter(w)
	zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, level) })
	sorted := slices.Sorted(slices.Values(files))
	var tests *corev1.TestSummary
	for _, abs := range sorted {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.zipFile(zw, abs, strings.TrimPrefix(strings.TrimPrefix(abs, root), "/"), level); err != nil {
			return nil, fmt.Errorf("%s: %w", abs, err)
		}
		if strings.EqualFold(path.Ext(abs), ".xml") {
			tests = c.junit(abs, tests)
		}
	}
	return tests, zw.Close()
}

func (c *Call) zipFile(zw *zip.Writer, abs, name string, level int) error {
	t, rel, err := c.place(abs)
	if err != nil {
		return err
	}
	f, info, err := workspace.OpenRegular(t.Root, rel)
	if err != nil {
		return err
	}
	defer f.Close()
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	if level == 0 {
		h.Method = zip.Store
	}
	h.SetMode(info.Mode().Perm())
	w, err := zw.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// junit adds a file's tests to the summary; a file that is something else is none of its business.
func (c *Call) junit(abs string, sum *corev1.TestSummary) *corev1.TestSummary {
	t, rel, err := c.place(abs)
	if err != nil {
		return sum
	}
	f, _, err := workspace.OpenRegular(t.Root, rel)
	if err != nil {
		return sum
	}
	defer f.Close()
	next := sum
	if next == nil {
		next = &corev1.TestSummary{}
	}
	switch err := reports.JUnit(f, next, c.Hide); {
	case err == nil:
		return next
	case !errors.Is(err, reports.ErrNotJUnit):
		c.Annotate("warning", fmt.Sprintf("%s looks like a JUnit file but can't be read: %v", abs, err))
	}
	return sum
}
