// A read, a barrier, a write that only some lanes take, with descriptors in registers; then what nobody reaches.
(W) or (1|M0) cr0.0<1>:ud cr0.0<0;1,0>:ud 0x30:uw
send.dc1 (16|M0) r25 r20 null 0x0 0x04205E01 {$0}
(W) send.gtwy (8|M0) null r6 null 0x0 0x02000004
sync.bar null
(W) mov (1|M0) a0.0<1>:ud 0x04025E00:ud
(W) mov (1|M0) a0.1<1>:ud 0x00000080:ud
(f0.0) send.dc1 (16|M0) null r20 r30 a0.1 a0.0
(f1.0) send.dc1 (16|M0) null r20 r30 0x80 0x04025E00
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
illegal
