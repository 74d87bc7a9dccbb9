// What a product of matrices is made of, over and over: multiply and add, integers, addresses, a choice.
L0:
mad (16|M0) r20.0<1>:f r20.0<8;1>:f r30.0<8;1>:f r8.4<0>:f
mad (16|M0) r22.0<1>:f r22.0<8;1>:f r32.0<8;1>:f r8.5<0>:f
mad (16|M0) r24.0<1>:f r24.0<8;1>:f r34.0<8;1>:f r8.6<0>:f
mul (16|M0) r26.0<1>:f r24.0<8;8,1>:f r20.0<8;8,1>:f
add (16|M0) r28.0<1>:f r26.0<8;8,1>:f -r22.0<8;8,1>:f
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
shl (16|M0) r42.0<1>:d r40.0<8;8,1>:d 2:w
add (16|M0) r44.0<1>:d r42.0<8;8,1>:d r9.1<0;1,0>:d
and (16|M0) r46.0<1>:d r44.0<8;8,1>:d 255:d
(f0.1) sel (16|M0) r48.0<1>:f r26.0<8;8,1>:f r28.0<8;8,1>:f
cmp (16|M0) (lt)f0.0 null<1>:d r40.0<8;8,1>:d r9.2<0;1,0>:d
(f0.0) while (16|M0) L0
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
