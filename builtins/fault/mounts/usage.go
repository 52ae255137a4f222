package mounts

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Usage is what statfs says of a file system, in bytes.
type Usage struct {
	Size      int64 `json:"size"`
	Free      int64 `json:"free"`  // with what is kept for root
	Avail     int64 `json:"avail"` // without
	Block     int64 `json:"block"`
	Files     int64 `json:"files"` // inodes; 0: there is no limit
	FilesFree int64 `json:"files_free"`
}

// UsageOf asks for the file system that an open file is on.
func UsageOf(fd int) (Usage, error) {
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(fd, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Usage{}, fmt.Errorf("statfs: %w", err)
		}
		break
	}
	block := int64(st.Frsize)
	if block == 0 {
		block = int64(st.Bsize)
	}
	return Usage{
		Size: int64(st.Blocks) * block, Free: int64(st.Bfree) * block, Avail: int64(st.Bavail) * block, Block: block,
		Files: int64(st.Files), FilesFree: int64(st.Ffree),
	}, nil
}

// For is the usage as a service sees it that may use what is kept for root, or
// may not.
func (u Usage) For(root bool) Usage {
	if root {
		u.Avail = u.Free
	}
	return u
}

// Used is the share that is used of what can be used, as df's Use%.
func (u Usage) Used() float64 { return share(u.Size-u.Free, u.Avail) }

// FilesUsed is the same for inodes, as df -i's IUse%.
func (u Usage) FilesUsed() float64 { return share(u.Files-u.FilesFree, u.FilesFree) }

func share(used, left int64) float64 {
	if used+left <= 0 {
		return 1
	}
	return float64(used) / float64(used+left)
}

// LeaveFor is how many bytes are available once a share of all is used.
func (u Usage) LeaveFor(used float64) int64 { return leave(u.Size-u.Free+u.Avail, used) }

// LeaveFilesFor is the same for inodes.
func (u Usage) LeaveFilesFor(used float64) int64 { return leave(u.Files, used) }

func leave(all int64, used float64) int64 { return all - int64(float64(all)*used+0.5) }
