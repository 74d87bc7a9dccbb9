// Two loops of 32 lanes: r40 and r42 of a lane are the number of pairs (i, j) with i <= r10 (or r12), j <= i and i + j odd.
(W) mov (16|M0) r40.0<1>:d 0:w
(W) mov (16|M0) r42.0<1>:d 0:w
(W) mov (16|M0) r50.0<1>:d 0:w
Louter:
(W) mov (16|M0) r52.0<1>:d 0:w
Linner:
add (16|M0) r54.0<1>:d r50.0<8;8,1>:d r52.0<8;8,1>:d
add (16|M16) r56.0<1>:d r50.0<8;8,1>:d r52.0<8;8,1>:d
and (16|M0) (ne)f1.0 null<1>:d r54.0<8;8,1>:d 1:w
and (16|M16) (ne)f1.0 null<1>:d r56.0<8;8,1>:d 1:w
(f1.0) if (32|M0) Lodd Lodd
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
add (16|M16) r42.0<1>:d r42.0<8;8,1>:d 1:w
Lodd:
endif (32|M0) Lstep
Lstep:
(W) add (16|M0) r52.0<1>:d r52.0<8;8,1>:d 1:w
cmp (16|M0) (le)f0.0 null<1>:d r52.0<8;8,1>:d r50.0<8;8,1>:d
cmp (16|M16) (le)f0.0 null<1>:d r52.0<8;8,1>:d r50.0<8;8,1>:d
(f0.0) while (32|M0) Linner
(W) add (16|M0) r50.0<1>:d r50.0<8;8,1>:d 1:w
cmp (16|M0) (le)f0.0 null<1>:d r50.0<8;8,1>:d r10.0<8;8,1>:d
cmp (16|M16) (le)f0.0 null<1>:d r50.0<8;8,1>:d r12.0<8;8,1>:d
(f0.0) while (32|M0) Louter
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
