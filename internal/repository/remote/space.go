package remote

import "context"

// Measured is a Tree that knows how much room its file system has.
type Measured interface {
	// Space returns the size of the file system and its free room, in bytes. It fails if the server does not tell.
	Space(ctx context.Context) (size, free uint64, err error)
}

// Space implements Measured.
func (t *sftpTree) Space(ctx context.Context) (size, free uint64, err error) {
	s, err := overSFTP(ctx, t, func(c *sftpConn) ([2]uint64, error) {
		v, err := c.StatVFS(t.root)
		if err != nil {
			return [2]uint64{}, err
		}
		return [2]uint64{v.Blocks * v.Frsize, v.Bavail * v.Frsize}, nil
	})
	return s[0], s[1], err
}
