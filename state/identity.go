package state

// identity tells a file from its copies. The inode alone does not: file systems give the number of a removed file
// to the next one that is made, which is what restoring a backup does.
type identity struct {
	inode int64
	born  int64 // nanoseconds, 0 where the system does not tell
}
