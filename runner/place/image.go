package place

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

const (
	imageName  = "runner-agent"
	labelImage = "chaosrunner.image" // on every image of ours: the hash of the binary
	keepImages = "24h"               // how long those of other binaries are kept
)

// makeImage gives the engine an image of this program, unless it has it, and
// returns its name. Nothing is pulled and nothing is built.
func makeImage(ctx context.Context, c *client.Client) (string, error) {
	exe, err := os.Open("/proc/self/exe") // the one that runs, even if it was rebuilt meanwhile
	if err != nil {
		return "", fmt.Errorf("agent container: %w", err)
	}
	defer exe.Close() //nolint:errcheck // read only
	if err := fits(ctx, c, exe); err != nil {
		return "", err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, exe)
	if err != nil {
		return "", fmt.Errorf("agent container: read %s: %w", exe.Name(), err)
	}
	hash := hex.EncodeToString(sum.Sum(nil)[:8])
	name := imageName + ":" + hash
	seen, err := c.ImageInspect(ctx, name)
	if err == nil && seen.Config != nil && seen.Config.Labels[labelImage] == hash {
		return name, nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("agent container: %w", err)
	}
	layer, err := pack(exe, size)
	if err != nil {
		return "", fmt.Errorf("agent container: %w", err)
	}
	said, err := c.ImageImport(ctx, image.ImportSource{Source: layer, SourceName: "-"}, name, image.ImportOptions{
		Changes: []string{`ENTRYPOINT ["/runner"]`, "LABEL " + labelImage + "=" + hash},
	})
	if err != nil {
		return "", fmt.Errorf("agent container: import its image: %w", err)
	}
	defer said.Close() //nolint:errcheck // read only
	if err := importError(said); err != nil {
		return "", fmt.Errorf("agent container: import its image: %w", err)
	}
	// Each build of the runner leaves an image; those that nothing runs go after a day.
	_, _ = c.ImagesPrune(ctx, filters.NewArgs(filters.Arg("dangling", "false"), filters.Arg("label", labelImage), filters.Arg("until", keepImages)))
	return name, nil
}

// fits says what keeps this program from running alone in a container there.
func fits(ctx context.Context, c *client.Client, exe io.ReaderAt) error {
	const static = "build it with `make build` (CGO_ENABLED=0)"
	f, err := elf.NewFile(exe)
	if err != nil {
		return fmt.Errorf("agent container: this runner is not a Linux program: %w; %s for Linux", err, static)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("agent container: this runner is linked dynamically and cannot run in an empty image: %s, or use --agent local", static)
		}
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("agent container: %w", err)
	}
	machines := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}
	if want, known := machines[info.Architecture]; info.OSType != "linux" || known && want != f.Machine {
		return fmt.Errorf("agent container: this runner is built for linux/%v, and the engine's host is %s/%s: use a runner built for that",
			f.Machine, info.OSType, info.Architecture)
	}
	return nil
}

// pack is a tar with the program alone.
func pack(exe io.ReaderAt, size int64) (io.Reader, error) {
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	err := w.WriteHeader(&tar.Header{Name: "runner", Mode: 0o755, Size: size, ModTime: time.Unix(0, 0)})
	if err != nil {
		return nil, err
	}
	padding := make([]byte, (512-size%512)%512+1024) // of the file, and the end of the archive
	return io.MultiReader(&head, io.NewSectionReader(exe, 0, size), bytes.NewReader(padding)), nil
}

// importError reads what the engine says of an import to its end.
func importError(said io.Reader) error {
	for d := json.NewDecoder(said); ; {
		var line struct {
			Error string `json:"error"`
		}
		err := d.Decode(&line)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}
