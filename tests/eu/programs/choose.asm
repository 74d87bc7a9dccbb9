// r40 of a lane: 10 if r10 <= r20, else 1 + (r10 > 100); r41.0 counts how often a block is entered at all.
(W) mov (16|M0) r40.0<1>:d 0:w
(W) mov (8|M0) r42.0<1>:d 0:w
cmp (16|M0) (gt)f0.0 null<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d
(f0.0) if (16|M0) Lelse Lend
(W) add (1|M0) r42.0<1>:d r42.0<0;1,0>:d 1:w
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
cmp (16|M0) (gt)f1.0 null<1>:d r10.0<8;8,1>:d 100:w
(f1.0) if (16|M0) Linner Linner
(W) add (1|M0) r42.1<1>:d r42.1<0;1,0>:d 1:w
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
Linner:
endif (16|M0) Lnext
Lnext:
else (16|M0) Lend Lend
Lelse:
(W) add (1|M0) r42.2<1>:d r42.2<0;1,0>:d 1:w
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 10:w
Lend:
endif (16|M0) Lout
Lout:
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
