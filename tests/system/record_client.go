// A client in Go, as record_client.cc: many goroutines, on threads that the runtime makes.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

const (
	enumAdapters3 = 0xc018473e // LX_DXENUMADAPTERS3
	destroyDevice = 0xc0044719 // LX_DXDESTROYDEVICE
)

func main() {
	log, err := os.OpenFile(os.Args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		panic(err)
	}
	node, err := syscall.Open("/dev/dxg", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	for i := 0; i < 16; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			call := func(code uintptr, args unsafe.Pointer) {
				result, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(node), code, uintptr(args))
				value := int(int32(result))
				if errno != 0 {
					value = -int(errno)
				}
				fmt.Fprintf(log, "%d %d %08x %d\n", syscall.Gettid(), node, code, value)
			}
			for round := 0; round < 50; round++ {
				count := [3]uint64{1}
				call(enumAdapters3, unsafe.Pointer(&count))
				handle := uint32(0x40000000)
				call(destroyDevice, unsafe.Pointer(&handle))
			}
		}()
	}
	all.Wait()
}
